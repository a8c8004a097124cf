"""Something true to try Trivet on: the flights that left New York in 2013, and two models of them."""
