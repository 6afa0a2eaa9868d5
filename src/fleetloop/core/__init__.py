"""What every part shares: types, geometry, random numbers, errors, files. Imports nothing of fleetloop."""
