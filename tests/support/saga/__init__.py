"""The pure decisions of orders, inventory and payments, played against each other in every order."""
