"""The command line: commands over services and bootstrap. Each command's module is imported only when it is used."""
