"""The one flow: candidate × size × seed × suite → answers → scores → gates → record."""
