"""What inventory answers and is asked: catalogue, stock, and the prices a cart is shown with."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contracts.http import Answer, Ask, Id

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
    """Units put on hand, added to what is there."""

    sku: SkuText
    delta: Annotated[int, Field(ge=1, le=10**6)]


class Import(Ask):
    """`POST /v1/admin/catalogue/imports`: vendors, then products, then stock, all or nothing."""

    vendors: Annotated[list[ImportVendor], Field(max_length=500, default_factory=list)]
    products: Annotated[list[ImportProduct], Field(max_length=500, default_factory=list)]
    stock: Annotated[list[ImportStock], Field(max_length=1000, default_factory=list)]


class Imported(Answer):
    vendors: int
    products: int
    variants: int
    stock: int


class AdjustStock(Ask):
    """`POST /v1/vendor/stock/{sku}/adjustments` and the admin's."""

    delta: Annotated[int, Field(ge=-(10**6), le=10**6)]
    reason: Reason


class Stock(Answer):
    sku: str
    on_hand: int
    reserved: int
    available: int
    version: int
