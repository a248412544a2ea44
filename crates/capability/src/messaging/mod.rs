//! Messages: publish, request and reply, and subscriptions with groups, acknowledgement and a dead letter; and the table of providers behind them.
