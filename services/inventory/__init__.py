"""Inventory: what is on sale at what price, and how much of it is promised.

Owns:    vendors, products, variants, stock, hold_orders, holds, hold_lines, adjustments, stock_movements
Listens: order.placed, order.expired, order.revived, order.finalized, order.cancelled, item.shipped,
         item.fulfilled, item.cancelled
Tells:   stock.reserved, stock.rejected, stock.released
Offers:  nothing yet
Heals:   nothing yet
"""
