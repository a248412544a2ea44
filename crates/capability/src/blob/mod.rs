//! Object storage: containers of objects that stream, and the table of providers behind them.
