"""Plain torch modules, one paper a file; they need the extra `lightmeter[torch]`."""
