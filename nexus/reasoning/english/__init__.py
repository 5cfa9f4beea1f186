"""Controlled English: a deterministic grammar that reads text as formulas and says what it did not understand."""

FORMS = """sentences that are understood, for instance:
  Every cat is an animal.  No cat is a dog.  Some cats are red.  Tom is a cat.  Tom is not red.
  If someone is red and they are big then they are kind.  The cat chases the dog.  Assume a closed world.
  Ann is taller than Bob.  Tom has 3 apples.  Tom gives 2 apples to Ann.
  There are 3 houses in a row.  Each person has a different drink: tea, milk, water.  Ann is left of the tea drinker.
  Each inhabitant is either a knight or a knave.  Zoe says that Max is a knave.
  The red block is on the table.  The hand is empty.  The goal is that the red block is on the blue block.
and questions:
  Is Tom red?  True or false: Tom is red.  Are all cats animals?  Who is the tallest?  How many apples does Tom have?
  Who drinks milk?  In which house does Ann live?  Is Zoe a knight?
"""
