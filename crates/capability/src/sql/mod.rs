//! SQL databases: typed parameters, named queries, transactions and rows that stream; and the table of providers behind them.
