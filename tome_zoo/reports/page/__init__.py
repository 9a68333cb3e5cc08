"""The report as one page of HTML that needs nothing else: charts, tables, and the samples whose prediction changes."""
