"""What each verb takes, by the noun it is about: one function per verb, which adds its arguments. No Django here."""
