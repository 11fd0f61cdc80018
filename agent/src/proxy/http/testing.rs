//! A handler for tests of both versions of HTTP.
//!
//! Entry point: [`Gate`].

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
};

use http::StatusCode;
use tokio::net::TcpStream;

use super::{
    app::Refused,
    direct::{Done, Handler},
    forward::Client,
    message::RequestHead,
    parse::Malformed,
};
use crate::flows::record::Reason;

/// Denies what begins with `/admin`, and remembers what was done.
pub(super) struct Gate {
    server: SocketAddr,
    client: Client,
    pub(super) done: RefCell<Vec<String>>,
}

impl Gate {
    /// Requests go to `server`.
    pub(super) fn new(server: SocketAddr) -> Self {
        let client = Client::new(IpAddr::from([10, 0, 0, 1]), None);
        Self { server, client, done: RefCell::default() }
    }
}

impl Handler for Gate {
    type Judged = ();

    async fn judge(&self, head: &mut RequestHead) -> ((), Result<(), Refused>) {
        if !head.path().starts_with("/admin") {
            return ((), Ok(()));
        }
        let denied_by = Some("application shop/no-admin rule 0 (deny)".into());
        let refused = Refused::new(StatusCode::FORBIDDEN, Reason::PolicyDenied, "denied");
        ((), Err(Refused { denied_by, ..refused }))
    }

    async fn dial(&self) -> Result<TcpStream, Refused> {
        TcpStream::connect(self.server).await.map_err(|error| {
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, Reason::UpstreamRefused, error.to_string())
        })
    }

    fn client(&self) -> &Client {
        &self.client
    }

    fn done(&self, (): (), done: Done<'_>) {
        let end = match done.outcome.reason {
            None => "server",
            Some(Reason::PolicyDenied) => "refused",
            Some(_) => "failed",
        };
        let status = done.status.map_or(0, |status| status.as_u16());
        let grpc = done.grpc_status.map_or(String::new(), |code| format!(" grpc {code}"));
        self.done.borrow_mut().push(format!("{} {status} {end}{grpc}", done.head.path()));
    }

    fn malformed(&self, malformed: Malformed) {
        self.done.borrow_mut().push(format!("{malformed:?}"));
    }
}
