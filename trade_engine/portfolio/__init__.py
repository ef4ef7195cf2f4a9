"""What an account holds and what it earned: positions at average cost, profit and loss, fees.

Pure arithmetic on exact decimals. Imported by execution and the rings around it; a stranger to
risk and audit.
"""
