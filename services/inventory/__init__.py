"""Inventory: what is on sale at what price, and how much of it is promised.

Owns:    vendors, products, variants, stock, hold_orders, holds, hold_lines, adjustments, stock_movements
Listens: order.placed, order.expired, order.revived, order.finalized, order.cancelled, item.shipped,
         item.fulfilled, item.cancelled
Tells:   stock.reserved, stock.rejected, stock.released
Offers:  GET /v1/products, GET /v1/products/{slug}, GET /internal/variants,
         POST /v1/vendor/stock/{sku}/adjustments, POST /v1/admin/stock/{sku}/adjustments,
         PUT /v1/admin/vendors/{vendor_id}, PUT /v1/admin/products/{slug},
         DELETE /v1/admin/products/{slug}, POST /v1/admin/catalogue/imports
Heals:   alarm_old_holds
"""
