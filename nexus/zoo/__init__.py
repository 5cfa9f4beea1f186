"""The zoo's machinery: how a reference system is proved, what it costs, and the record of both."""
