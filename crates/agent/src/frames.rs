//! Between the session's own values and the frames of the wire.

use std::time::Duration;

use bytes::Bytes;
use sidehook_api::agent_v1::connect_request::Frame;
use sidehook_api::agent_v1::{self, ConnectRequest};
use sidehook_runtime::build_info;
use sidehook_session::agent_end::{Batch, Hello};

use crate::engine::Outcome;

/// Version of the protocol that this agent speaks.
const PROTOCOL: u32 = 1;

/// What Hello says of the process and never changes.
#[derive(Debug)]
pub(crate) struct Introduction {
    pub(crate) agent_id: [u8; 16],
    pub(crate) boot_id: u64,
    pub(crate) name: String,
    pub(crate) capacity_bytes: u64,
}

impl Introduction {
    pub(crate) fn hello(&self, hello: Hello) -> ConnectRequest {
        let frame = agent_v1::Hello {
            protocol: PROTOCOL,
            agent_id: Bytes::copy_from_slice(&self.agent_id),
            boot_id: self.boot_id,
            session_id: hello.session_id,
            closed_session_ids: hello.closed_session_ids,
            capacity: hello.capacity,
            capacity_bytes: self.capacity_bytes,
            held_leases: hello.held_leases,
            held_deliveries: hello.held_deliveries,
            name: self.name.clone(),
            version: build_info::VERSION.to_owned(),
        };
        request(hello.stamp, Frame::Hello(frame))
    }
}

pub(crate) fn request(stamp: u64, frame: Frame) -> ConnectRequest {
    ConnectRequest {
        stamp,
        frame: Some(frame),
    }
}

/// A batch as it is `now`: times are told as ages.
pub(crate) fn outcomes(batch: &Batch<Outcome>, now: Duration) -> Frame {
    let leases = batch.leases.iter().map(|lease| agent_v1::LeaseOutcomes {
        lease: lease.lease.clone(),
        outcomes: lease
            .outcomes
            .iter()
            .map(|(position, ended)| outcome(*position, ended, now))
            .collect(),
    });
    Frame::Outcomes(agent_v1::Outcomes {
        sequence: batch.sequence,
        leases: leases.collect(),
    })
}

fn outcome(position: u32, outcome: &Outcome, now: Duration) -> agent_v1::Outcome {
    let age = now.saturating_sub(outcome.began);
    agent_v1::Outcome {
        position,
        kind: agent_v1::OutcomeKind::from(outcome.kind).into(),
        response_status: outcome.status.into(),
        started_ago_ms: u32::try_from(age.as_millis()).unwrap_or(u32::MAX),
        duration_us: u64::try_from(outcome.took.as_micros()).unwrap_or(u64::MAX),
        response_body: outcome.body.clone(),
        error_detail: outcome.detail.clone(),
        retry_after_s: outcome.retry_after_s,
    }
}
