//! What the steps of a history speak of: "the request that came `n` before the newest one", in any situation.

use super::*;

impl Naive {
    /// The request that came so many before the newest.
    pub(crate) fn back(&self, back: usize) -> Option<usize> {
        (!self.requests.is_empty()).then(|| self.requests.len() - 1 - back.min(self.requests.len() - 1))
    }

    /// A call that repeats another one, as the call that it is.
    pub(crate) fn spelled_out(&self, op: &Op) -> Op {
        let Op::Again { back, key } = *op else { return op.clone() };
        let (bot, thing, behalf) = match self.back(back) {
            Some(place) => {
                let request = &self.requests[place];
                (request.bot, request.thing, Some(request.behalf))
            }
            None => (0, Thing::Staging(0), None),
        };
        Op::Submit { bot, old_token: false, thing, behalf, key }
    }

    /// The request that a call is about.
    pub(crate) fn target(&self, op: &Op) -> Option<usize> {
        match op {
            Op::Vote { back, .. }
            | Op::Cancel { back, .. }
            | Op::Claim { back, .. }
            | Op::Report { back, .. }
            | Op::Resolve { back, .. } => self.back(*back),
            _ => None,
        }
    }

    /// The same call, about the same requests, now that others have come, and with the same token, which may be old by now.
    pub(crate) fn later(&self, op: &Op, before: &Naive) -> Op {
        let more = self.requests.len() - before.requests.len();
        let mut op = op.clone();
        let caller = match &op {
            Op::Submit { bot, .. } => Some(*bot),
            other => before.target(other).map(|target| before.requests[target].bot),
        };
        let rotated = caller.is_some_and(|bot| self.bot_token[bot] != before.bot_token[bot]);
        if let Op::Submit { old_token, .. } | Op::Cancel { old_token, .. } | Op::Claim { old_token, .. } =
            &mut op
        {
            *old_token |= rotated;
        }
        match &mut op {
            Op::Vote { back, .. }
            | Op::Cancel { back, .. }
            | Op::Claim { back, .. }
            | Op::Resolve { back, .. } => *back = before.clamped(*back) + more,
            Op::Report { back, of, .. } => {
                (*back, *of) = (before.clamped(*back) + more, before.clamped(*of) + more);
            }
            _ => {}
        }
        op
    }

    fn clamped(&self, back: usize) -> usize {
        back.min(self.requests.len().saturating_sub(1))
    }
}
