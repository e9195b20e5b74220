"""Sign what nodes that join are told, and clear away the tokens that they join with: pkg/controller/bootstrap."""
