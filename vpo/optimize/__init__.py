"""What a user of an optimizer calls: a query in, a checked prompt out."""
