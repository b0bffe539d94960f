"""What inventory answers and is asked: catalogue, stock, and the prices a cart is shown with."""

from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from contracts.http import Answer, Ask, Id

MOST_ROWS: Final = 5_000
"""Of one import; its body may be `MOST_IMPORT_BYTES` long, that of any other request 64 KiB."""
MOST_IMPORT_BYTES: Final = 4 * 1024 * 1024

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
Reason = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]
PricePaisa = Annotated[int, Field(ge=1, le=10**11)]
SkuText = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:~-]{0,199}$")]
SlugText = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=200)]


class PutVendor(Ask):
    """`PUT /v1/admin/vendors/{id}`."""

    name: Name
    delivery_charge_paisa: Annotated[int, Field(ge=0, le=10**9)]


class Vendor(Answer):
    id: UUID
    name: str
    delivery_charge_paisa: int


class PutVariant(Ask):
    sku: SkuText
    price_paisa: PricePaisa


class PutProduct(Ask):
    """`PUT /v1/admin/products/{slug}`: the whole product; a variant that is not named is withdrawn."""

    vendor_id: Id
    title: Name
    variants: Annotated[list[PutVariant], Field(min_length=1, max_length=200)]


class Variant(Answer):
    """One thing that can be bought; `available` is what is on hand and not held."""

    sku: str
    price_paisa: int
    currency: Literal["NPR"] = "NPR"
    available: int


class Product(Answer):
    slug: str
    title: str
    vendor_id: UUID
    variants: list[Variant]


class ProductPage(Answer):
    data: list[Product]
    next: str | None = None
    has_more: bool = False


class Offer(Answer):
    """One SKU as a cart shows it; a SKU that is not on sale is not listed."""

    sku: str
    slug: str
    title: str
    vendor_id: UUID
    price_paisa: int
    available: int


class Offers(Answer):
    """`GET /internal/variants?sku=a&sku=b`, at most 50."""

    data: list[Offer]


class ImportVendor(PutVendor):
    id: Id


class ImportProduct(PutProduct):
    slug: SlugText


class ImportStock(Ask):
    """Units that came on hand, or went (negative), since the last count."""

    sku: SkuText
    on_hand_delta: Annotated[int, Field(ge=-(10**9), le=10**9)]


class Import(Ask):
    """`POST /v1/admin/catalogue/imports`: vendors, then products, then stock, all or nothing.

    At most 5,000 rows: a vendor, a product, a variant and a stock line are a row each.
    """

    vendors: list[ImportVendor] = Field(max_length=MOST_ROWS, default_factory=list)
    products: list[ImportProduct] = Field(max_length=MOST_ROWS, default_factory=list)
    stock: list[ImportStock] = Field(max_length=MOST_ROWS, default_factory=list)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        variants = sum(len(product.variants) for product in self.products)
        if len(self.vendors) + len(self.products) + variants + len(self.stock) > MOST_ROWS:
            raise ValueError(f"at most {MOST_ROWS} rows in one import")
        return self


class Imported(Answer):
    vendors: int
    products: int
    variants: int
    stock: int


class AdjustStock(Ask):
    """`POST /v1/vendor/stock/{sku}/adjustments` and the admin's."""

    delta: Annotated[int, Field(ge=-(10**9), le=10**9)]
    reason: Reason


class Stock(Answer):
    sku: str
    on_hand: int
    reserved: int
    available: int
    version: int
