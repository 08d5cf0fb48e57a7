"""Who is here and what everybody knows: the record set, its exchange, and the view of the members."""
