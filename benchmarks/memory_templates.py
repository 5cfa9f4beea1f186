"""Sentences and questions of the benchmark memory_edits.py, written before the reader and apart from it.

Each relation has a sentence as it is taught, a question in the words that were taught, and four in other words: the
first is for development, the other three are only for measuring. They were written as people ask, without a look at
what `nexus/living` reads; the same author wrote both, though, so they are a fair test and not a blind one. Where a
relation leads on (its value has facts of its own), `noun` names it inside a longer question.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Relation:
    """One kind of fact; {s} is whom it is about, {v} what is told."""

    name: str
    about: str  # person, city, firm, work
    value: str  # the kind of value: a kind above, or a list in VALUES
    taught: str
    asked: str
    others: tuple[str, str, str, str]
    noun: str = ""


def _r(name: str, about: str, value: str, taught: str, asked: str, *others: str, noun: str = "") -> Relation:
    assert len(others) == 4, name
    return Relation(name, about, value, taught, asked, (others[0], others[1], others[2], others[3]), noun)


RELATIONS = (
    _r("sister", "person", "person", "{s}'s sister is {v}.", "Who is {s}'s sister?",
       "What is the name of {s}'s sister?", "Who is the sister of {s}?", "Do you know what {s}'s sister is called?",
       "Tell me who {s} has as a sister.", noun="sister"),
    _r("boss", "person", "person", "{s}'s manager is {v}.", "Who is {s}'s manager?",
       "Who is {s}'s boss?", "Who does {s} report to?", "Which person supervises {s} at work?",
       "Can you name the supervisor of {s}?", noun="manager"),
    _r("doctor", "person", "person", "{v} is {s}'s doctor.", "Who is {s}'s doctor?",
       "Which doctor does {s} see?", "What's the name of {s}'s physician?", "Who treats {s} when {s} is ill?",
       "Whom does {s} have as a doctor?", noun="doctor"),
    _r("spouse", "person", "person", "{s} is married to {v}.", "Who is {s} married to?",
       "Who is {s}'s spouse?", "Whom did {s} marry?", "What is the name of the person {s} is married to?",
       "Who is the husband or wife of {s}?", noun="spouse"),
    _r("home", "person", "city", "{s} lives in {v}.", "Where does {s} live?",
       "In which city does {s} live?", "What is {s}'s place of residence?", "Which town is {s}'s home?",
       "Where is {s} living these days?", noun="home town"),
    _r("birthplace", "person", "city", "{s} was born in {v}.", "Where was {s} born?",
       "What is {s}'s birthplace?", "In what city was {s} born?", "Which place is {s} originally from?",
       "Where did {s} come into the world?", noun="birthplace"),
    _r("job", "person", "jobs", "{s} works as {v}.", "What does {s} work as?",
       "What is {s}'s job?", "What does {s} do for a living?", "What's the profession of {s}?",
       "How does {s} earn money?"),
    _r("employer", "person", "firm", "{s} works for {v}.", "Who does {s} work for?",
       "Who is {s}'s employer?", "Which company employs {s}?", "At what firm is {s} employed?",
       "Where is {s} on the payroll?", noun="employer"),
    _r("colour", "person", "colours", "{s}'s favourite colour is {v}.", "What is {s}'s favourite colour?",
       "Which color does {s} like best?", "What colour does {s} prefer?", "What is the favorite color of {s}?",
       "Which hue is dearest to {s}?"),
    _r("food", "person", "foods", "{s}'s favourite food is {v}.", "What is {s}'s favourite food?",
       "What does {s} like to eat most?", "Which dish does {s} like best?", "What is the meal {s} prefers?",
       "What food does {s} love above all?"),
    _r("instrument", "person", "instruments", "{s} plays the {v}.", "What does {s} play?",
       "Which instrument does {s} play?", "What musical instrument can {s} play?", "What is {s}'s instrument?",
       "On what does {s} make music?"),
    _r("birthday", "person", "dates", "{s}'s birthday is {v}.", "When is {s}'s birthday?",
       "On which day was {s} born?", "What is {s}'s date of birth?", "When does {s} celebrate a birthday?",
       "What day is the birthday of {s}?"),
    _r("phone", "person", "phones", "{s}'s phone number is {v}.", "What is {s}'s phone number?",
       "How can I reach {s} by phone?", "What number do I dial to call {s}?", "Can I have the telephone number of {s}?",
       "Under which number does {s} answer the phone?"),
    _r("allergy", "person", "allergens", "{s} is allergic to {v}.", "What is {s} allergic to?",
       "What allergy does {s} have?", "Which food can {s} not tolerate because of an allergy?",
       "What triggers {s}'s allergy?", "To what does {s} have an allergy?"),
    _r("pet", "person", "pets", "{s} has a dog called {v}.", "What is {s}'s dog called?",
       "What is the name of {s}'s dog?", "How is {s}'s dog named?", "Which name does the dog of {s} have?",
       "What does {s} call the dog?"),
    _r("mayor", "city", "person", "The mayor of {s} is {v}.", "Who is the mayor of {s}?",
       "Who is {s}'s mayor?", "What is the name of the mayor of {s}?", "Which person governs {s} as mayor?",
       "Who holds the office of mayor in {s}?", noun="mayor"),
    _r("population", "city", "numbers", "The population of {s} is {v}.", "What is the population of {s}?",
       "How many people live in {s}?", "How many inhabitants does {s} have?", "How large is the population of {s}?",
       "What is the number of residents in {s}?"),
    _r("river", "city", "rivers", "{s} lies on the river {v}.", "On which river does {s} lie?",
       "What river runs through {s}?", "Which river is {s} on?", "Which river flows past {s}?",
       "What is the name of the river at {s}?"),
    _r("founded", "city", "years", "{s} was founded in {v}.", "When was {s} founded?",
       "In which year was {s} founded?", "What year was {s} established?", "How long ago, in what year, did {s} begin?",
       "What is the founding year of {s}?"),
    _r("dish", "city", "foods", "{s} is famous for its {v}.", "What is {s} famous for?",
       "What is {s} known for?", "For what is {s} renowned?", "What made {s} famous?",
       "What do people know {s} for?"),
    _r("seat", "firm", "city", "{s} is based in {v}.", "Where is {s} based?",
       "Where is the headquarters of {s}?", "In which city does {s} have its head office?",
       "Which city is home to {s}?", "What is the location of {s}'s main office?", noun="headquarters"),
    _r("founder", "firm", "person", "{v} founded {s}.", "Who founded {s}?",
       "Who is the founder of {s}?", "Who started {s}?", "By whom was {s} founded?",
       "Which person set up the company {s}?", noun="founder"),
    _r("product", "firm", "products", "{s} makes {v}.", "What does {s} make?",
       "What does {s} produce?", "Which product comes from {s}?", "What kind of goods does {s} manufacture?",
       "What does the company {s} turn out?"),
    _r("hours", "firm", "times", "{s} opens at {v}.", "When does {s} open?",
       "At what time does {s} open?", "What are the opening hours of {s}?", "From what time on is {s} open?",
       "How early can I go to {s}?"),
    _r("staff", "firm", "numbers", "{s} has {v} employees.", "How many employees does {s} have?",
       "How many people work for {s}?", "What is the number of employees at {s}?", "How big is the staff of {s}?",
       "How large is {s}'s workforce?"),
    _r("author", "work", "person", "{s} was written by {v}.", "Who wrote {s}?",
       "Who is the author of {s}?", "By whom was {s} written?", "Which writer is behind {s}?",
       "Whose work is {s}?", noun="author"),
    _r("year", "work", "years", "{s} was published in {v}.", "When was {s} published?",
       "In which year did {s} come out?", "When did {s} appear?", "What is the year of publication of {s}?",
       "What year was {s} released?"),
    _r("language", "work", "languages", "{s} was first written in {v}.", "In which language was {s} first written?",
       "What is the original language of {s}?", "Which language was {s} originally written in?",
       "In what tongue was {s} first composed?", "What language is the original of {s} in?"),
    _r("setting", "work", "city", "The story of {s} takes place in {v}.", "Where does the story of {s} take place?",
       "Where is {s} set?", "In which city is the story of {s} set?", "What is the setting of {s}?",
       "What town does {s} play in?"),
    _r("price", "work", "prices", "{s} costs {v}.", "What does {s} cost?",
       "How much is {s}?", "What is the price of {s}?", "How much do I have to pay for {s}?",
       "For what amount of money is {s} sold?"),
)  # fmt: skip

VALUES = {
    "jobs": ("a nurse", "a baker", "a pilot", "a carpenter", "a judge", "a gardener", "a plumber", "a librarian"),
    "colours": ("green", "blue", "yellow", "purple", "orange", "crimson", "turquoise", "silver"),
    "foods": ("lentil soup", "fried herring", "plum cake", "mushroom pie", "goat cheese", "potato salad", "rye bread"),
    "instruments": ("violin", "flute", "trumpet", "cello", "harp", "accordion", "oboe", "banjo"),
    "allergens": ("peanuts", "shellfish", "pollen", "gluten", "strawberries", "walnuts", "soy", "sesame"),
    "pets": ("Rex", "Bello", "Luna", "Pirate", "Biscuit", "Thunder", "Daisy", "Captain"),
    "rivers": ("Orvan", "Tessel", "Mirna", "Galdo", "Suvi", "Brenta", "Kolm", "Idra"),
    "products": ("bicycles", "lamps", "wooden toys", "kettles", "umbrellas", "pianos", "tents", "clocks"),
    "languages": ("Danish", "Latin", "Basque", "Welsh", "Finnish", "Catalan", "Hungarian", "Frisian"),
}
