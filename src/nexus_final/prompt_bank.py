"""Words for everyday requests: templates with a slot, and what goes into the slots.

The one idea: a template alone would be learnt by heart, so the slots carry the split: a topic asked about in training
is never asked about in the evaluation. All of it is ours.
"""

from __future__ import annotations

# Each template belongs to one slot list below.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "topic": (
        "Explain {} in two or three sentences.",
        "What is {}?",
        "Tell me something interesting about {}.",
        "I'm ten years old. How would you explain {} to me?",
        "Why does {} matter?",
    ),
    "thing": (
        "Write a short poem about {}.",
        "Describe {} to someone who has never seen one.",
        "Write two sentences that advertise {}.",
        "Give me three facts about {}.",
    ),
    "activity": (
        "Give me three tips for {}.",
        "How do I get started with {}?",
        "What do I need for {}?",
        "I keep failing at {}. What could I try?",
    ),
    "pair": (
        "What is the difference between {}?",
        "Compare {} in a few words.",
    ),
    "clause": (
        "Explain {}.",
        "Can you tell me in simple words {}?",
        "My daughter asked me {}. What should I answer?",
    ),
    "event": (
        "Help me plan {}.",
        "What should I not forget for {}?",
        "Give me two ideas for {}.",
    ),
    "message": (
        "Write a short message {}.",
        "I need a friendly note {}. Three sentences are enough.",
    ),
    "place": (
        "What is {} known for?",
        "I have one day in {}. What should I do?",
    ),
    "rude": (
        "Rewrite this more politely: {}",
        "How could I say this in a kinder way? {}",
    ),
    "wordy": (
        "Make this shorter: {}",
        "Say this in plain words: {}",
    ),
    "faulty": (
        "Correct the mistakes in this sentence: {}",
        "Is this good English? {}",
    ),
}

SLOTS: dict[str, tuple[str, ...]] = {
    "topic": (
        "photosynthesis", "gravity", "the water cycle", "inflation", "a black hole", "democracy", "the immune system",
        "electricity", "the French Revolution", "evaporation", "a volcano", "DNA", "friction",
        "the internet", "climate change", "the stock market", "magnetism", "plate tectonics",
        "recycling", "the moon's phases", "the Silk Road", "vaccination",
        "sound", "the Roman Empire", "erosion", "a leap year", "supply and demand", "yeast",
        "the ozone layer", "antibiotics", "tides", "the printing press", "a solar eclipse",
        "fermentation", "compound interest", "the nervous system", "migration of birds", "rust", "a search engine",
        "caffeine", "the food chain", "a constitution", "the speed of light",
    ),
    "thing": (
        "the sea", "an old bicycle", "a cup of coffee", "autumn leaves", "a lighthouse", "a sleepy cat",
        "the first snow",
        "a wooden chair", "a train station", "a garden in spring", "a rainy afternoon", "an umbrella", "a market",
        "the night sky", "a loaf of bread", "a piano", "a river", "a mountain hut", "a kite", "a library",
        "a paper boat", "a thunderstorm", "a street musician", "a beehive", "an apple tree", "a sailing ship",
        "a candle", "a desert", "a clock", "a scarf", "a bridge at dawn", "a bakery", "a campfire", "a glacier",
    ),
    "activity": (
        "sleeping better", "learning to cook", "running five kilometres", "saving money", "growing tomatoes",
        "learning a new language", "writing a diary", "public speaking", "drawing faces", "packing a suitcase",
        "reading more books", "playing the guitar", "taking better photographs", "keeping a flat tidy", "swimming",
        "studying for an exam", "making friends in a new town", "baking bread", "repairing a bicycle", "meditation",
        "waking up early", "training a puppy", "painting a room", "making a budget", "planting herbs", "birdwatching",
        "using less plastic", "preparing for a job interview", "learning to type fast", "hiking alone", "knitting",
        "chess", "remembering names", "cooking for one", "giving up sugar",
    ),
    "pair": (
        "weather and climate", "a simile and a metaphor", "butter and margarine", "a lake and a pond",
        "a crocodile and an alligator", "tea and coffee", "fiction and non-fiction", "a virus and a bacterium",
        "a city and a town", "jazz and blues", "renting and buying a home", "cats and dogs", "speed and velocity",
        "an alloy and a pure metal", "an MP3 file and a CD", "a debit card and a credit card", "baking and roasting",
        "a noun and a verb", "mass and weight", "a comet and an asteroid", "empathy and sympathy", "yoga and pilates",
        "a novel and a short story", "frogs and toads", "hardware and software", "a mean and a median",
    ),
    "clause": (
        "how rainbows form", "how bread rises", "why we dream", "how bees make honey", "how soap works",
        "how batteries work", "how planes fly", "why the sky is blue", "why leaves change colour", "how a lock works",
        "why we yawn", "how paper is made", "why ice floats", "how a compass works", "why cats purr",
        "how glass is made", "why the sea is salty", "how magnets work", "why we have seasons", "how a fridge works",
        "why onions make us cry", "how the heart pumps blood", "why metals rust", "how echoes come about",
        "why some animals hibernate", "how cheese is made", "how a microwave heats food", "why stars twinkle",
    ),
    "event": (
        "a small picnic", "a children's party", "a farewell dinner", "a book club evening", "a quiet weekend at home",
        "a class reunion", "a game night", "a housewarming", "a road trip", "a team lunch", "a charity run",
        "a day at the beach", "a camping weekend", "a surprise birthday", "a school trip", "a garden party",
        "a move to another town", "a long train journey", "a visit from my parents", "a rainy Sunday", "a bake sale",
        "a wedding anniversary", "a winter walk", "a street festival", "a museum visit", "a family photo album",
    ),
    "message": (
        "for a friend's birthday", "to a colleague who is leaving", "to a neighbour who helped me move",
        "for my sister's wedding", "to thank my teacher", "to say sorry to a friend", "to welcome a new neighbour",
        "for my grandmother's eightieth birthday", "to congratulate a friend on her exam", "to cancel a dinner",
        "to my landlord about a broken heater", "for a new baby in the family", "to invite friends to a barbecue",
        "to ask my boss for a day off", "to someone who is ill", "to remind my flatmate of the rent",
        "to thank a host for a lovely evening", "to a friend who moved away", "to ask a neighbour to water my plants",
        "to an uncle I haven't seen for years", "to say that I'll be late", "for the first day at a new school",
        "to a team that won its match", "to recommend a book", "to ask for a recipe", "to wish someone luck",
    ),
    "place": (
        "Paris", "Tokyo", "Cairo", "Rome", "New York", "Sydney", "Istanbul", "Barcelona", "Vienna", "Mexico City",
        "Edinburgh", "Lisbon", "Nairobi", "Amsterdam", "Athens", "Prague", "Rio de Janeiro", "Berlin", "Kyoto",
        "Cape Town", "Dublin", "Venice", "Buenos Aires", "Stockholm", "Bangkok", "Chicago", "Marrakesh", "Budapest",
    ),
    "rude": (
        "Send me the report now.", "You are wrong about the numbers.", "Why didn't you call me back?",
        "Stop talking so loudly.", "I want my money back.", "Your plan makes no sense.", "Move your car.",
        "I can't come. Busy.", "Be quiet, I'm working.", "This soup is cold, bring another one.", "Give me your notes.",
        "You never listen.", "Don't touch my things.", "That is a stupid idea.", "Hurry up.", "Pay me this week.",
        "Your dog is a nuisance.", "I don't care what you think.", "Fix it today.", "You forgot again.",
    ),
    "wordy": (
        "Due to the fact that it was raining we made the decision to stay at home.",
        "The meeting, which was long, was also something that was quite boring.",
        "It is my opinion that in the future we should all try to walk.",
        "At this point in time we are not able to give an answer to the question that you asked.",
        "In the event that the train is late we will be in the position of having to wait.",
        "There are a great many people who are of the belief that tea is better than coffee.",
        "We would like to take this opportunity to say thank you to each and every one of you.",
        "He is a man who has the habit of getting out of bed at an early hour.",
        "The reason why she left was because of the fact that she was tired.",
        "It should be noted that the shop is closed on days that are Sundays.",
        "In spite of the fact that he had no money, he made a purchase of a boat.",
        "A large number of the apples were in a condition that was not good.",
    ),
    "faulty": (
        "I no have time for go to the shop today.", "Me and him was late again.",
        "Them cookies was the most best I ate.",
        "She dont like neither apples or pears.", "There is three reason why I like this book.",
        "He go to school by bus every days.", "Yesterday I have seen a film what was very funny.",
        "Nobody told me nothing.", "We was waiting since two hours.", "I am agree with you.",
        "He don't knows the answer.", "Can you borrow me your pen?", "My brother he is more taller than me.",
        "The informations are not correct.", "I look forward to see you.", "She suggested me to go there.",
        "Its a lovely day, isnt it.", "How looks your house like?", "I have 20 years.",
        "Everyone have to bring there book.",
    ),
}  # fmt: skip

# Small talk for the router's class `chitchat`: three banks, one a split, so that no phrase is in two.
CHITCHAT: dict[str, tuple[str, ...]] = {
    "train": (
        "hi", "hello there", "good morning", "hey, how are you?", "how's it going?", "thanks a lot", "thank you!",
        "that was very helpful", "you're great", "bye for now", "see you tomorrow", "good night", "what's your name?",
        "who are you?", "are you a robot?", "do you like music?", "tell me a joke", "I'm bored", "I had a long day",
        "you made me laugh", "how old are you?", "do you ever sleep?", "I'm happy today", "it's raining again here",
        "happy new year", "nice to meet you", "what do you like to do?", "can we just chat?", "I missed you",
        "you are funny", "I feel a bit lonely", "ok, cool", "wow, really?", "sorry, my mistake", "no worries",
        "guess what happened today", "my cat says hello", "I just woke up", "what are you up to?", "have a nice day",
        "do you have friends?", "I like talking to you", "what is your favourite colour?", "sing me something",
        "I am so tired", "let's talk about something nice", "how was your weekend?", "you sound cheerful", "cheers",
        "my day was fine, thanks",
    ),
    "heldout": (
        "hiya", "good evening to you", "how do you do?", "many thanks", "much obliged", "so long", "catch you later",
        "may I ask who I'm talking to?", "are you human?", "make me laugh", "nothing to do this afternoon",
        "today wore me out", "what's your age?", "do you get tired?", "feeling great right now",
        "lovely weather, isn't it?",
        "pleased to make your acquaintance", "what do you do for fun?", "fancy a little talk?", "you crack me up",
        "it's quiet around here without anyone", "alright then", "no way!", "my bad", "never mind",
        "you won't believe my morning", "enjoy your evening", "got any hobbies?",
    ),
    "test": (
        "howdy", "greetings, friend", "what's new with you?", "I really appreciate it", "you've been a big help",
        "farewell", "talk to you soon", "sleep well", "do you have a name?", "is there a person behind this?",
        "know any funny stories?", "killing time here", "work was exhausting", "when were you born?",
        "do you need rest?", "I'm in such a good mood", "the sun finally came out", "a pleasure meeting you",
        "what makes you happy?", "could we have a little conversation?", "that cheered me up", "nobody is around today",
        "fair enough", "are you serious?", "oops, I mixed that up", "forget about it", "what a morning I had",
        "take care of yourself", "which film do you like best?", "it's nice to hear from you",
    ),
}  # fmt: skip
