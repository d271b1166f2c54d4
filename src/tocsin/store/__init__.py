"""The only SQL of the product: transactions, named queries (`sql/<noun>.sql`) and migrations. One module a noun."""
