"""The command line: parse, call one function, show. No logic lives here."""
