"""Pictures → a sentence each: rules, files that lie beside them, vision-language models of a folder."""
