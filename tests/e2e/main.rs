//! End-to-end tests: the real binary, real sockets, one file a behaviour.
//!
//! They assert what the contract says, in its words, and nothing of how it is done. Each is bounded in time,
//! uses ports of the system's choosing and a folder of its own, and leaves what the process wrote behind when
//! it fails (the message says where).
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it should do")]

mod golden;
mod harness;

mod access_log;
mod actions;
mod admin_access;
mod admin_changes;
mod admin_history;
mod bad_requests;
mod blame;
mod clients;
mod command_line;
mod config_file;
mod connection_limits;
mod connections;
mod crash;
mod deadline;
mod docker_layout;
mod drain;
mod events;
mod explain;
mod fallback;
mod forwarding;
mod grpc;
mod harness_itself;
mod http10;
mod http2;
mod http2_abuse;
mod in_flight;
mod late_connection;
mod limits;
mod listener_limits;
mod matrix;
mod metrics;
mod mirror;
mod nginx;
mod odd_upstreams;
mod panic_threshold;
mod pool_limits;
mod pool_recreate;
mod pool_rolling;
mod precedence;
mod proxy_protocol;
mod reload;
mod rescue;
mod retry;
mod rewrites;
mod rollout_abort;
mod rollout_blame;
mod rollout_commands;
mod rollout_full_disk;
mod rollout_hooks;
mod rollout_refused;
mod rollout_replace;
mod rollout_restart;
mod rollout_speed;
mod rollout_strategies;
mod rollout_verdict;
mod routes;
mod service_manager;
mod shift;
mod shutdown;
mod shutdown_rush;
mod slow_bodies;
mod slow_clients;
mod slow_crowd;
mod slow_readers;
mod slow_start;
mod splitting;
mod streaming;
mod timeouts;
mod tls;
mod tls_reload;
mod try_timeout;
mod unix_endpoints;
mod upgrade;
mod upgrade_failed;
mod upgrade_handover;
mod upstream_dies;
mod upstream_tls;
mod websocket;
