"""Projects: source trees whose files are compiled one by one, by the flags of their own builds."""
