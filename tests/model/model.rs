//! What the server has to answer, from a list of facts instead of its counters and records.
//!
//! Everything is derived anew from what happened: seats from the live activations, unconsumed returns from those after the last
//! code. It is written from the rules (DOMAIN 7, N-04 to N-13), not from the flows.

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::date::{CivilDate, Term};

use crate::world::{CODED, DONGLE, MAIL, NSP, day_one};

/// Yes, or the reason of the refusal.
pub(crate) type Verdict<T = ()> = Result<T, &'static str>;

/// The four licenses and the time.
pub(crate) struct Model {
    pub(crate) now: DateTime<Utc>,
    pub(crate) licenses: Vec<License>,
}

/// One serial through all its generations.
#[derive(Debug)]
pub(crate) struct License {
    pub(crate) serial: &'static str,
    pub(crate) partner: &'static str,
    pub(crate) seats: usize,
    pub(crate) generation: u32,
    pub(crate) terms: Vec<Term>,
    pub(crate) standing: Standing,
    pub(crate) activations: Vec<Activation>,
    pub(crate) requests: Vec<Request>,
    overlap_until: Option<DateTime<Utc>>,
    sealed: Option<Sealed>,
    returned: Vec<DateTime<Utc>>,
    waived: Vec<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Issued,
    Suspended,
    Revoked,
}

#[derive(Clone, Copy, Debug)]
enum Sealed {
    Until(DateTime<Utc>),
    ForEver,
}

#[derive(Debug)]
pub(crate) struct Activation {
    pub(crate) id: String,
    pub(crate) device: u32,
    pub(crate) generation: u32,
    pub(crate) end: Option<End>,
    /// Tickets, oldest first: text and when each runs out.
    pub(crate) tickets: Vec<(String, DateTime<Utc>)>,
    /// The last ticket was given up, or has run out and is known to.
    waived: bool,
    consumed: bool,
    pub(crate) code: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Deactivated,
    Lost,
    Revoked,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) generation: u32,
    pub(crate) state: Asked,
    pub(crate) bound_to: Option<u32>,
    pub(crate) codes: Vec<String>,
    expires: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Waiting,
    Approved,
    CodeIssued,
    Redeemed,
    Withdrawn,
    Expired,
}

/// How a device shows that it may activate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Right,
    Wrong,
    /// The product code of the newest activation of this device.
    ProductCodeOf(u32),
}

impl Model {
    pub(crate) fn new() -> Self {
        let license = |serial, partner, seats| License {
            serial,
            partner,
            seats,
            generation: 1,
            terms: vec![Term::of_months(date(day_one()), 12).unwrap()],
            standing: Standing::Issued,
            activations: Vec::new(),
            requests: Vec::new(),
            overlap_until: None,
            sealed: None,
            returned: Vec::new(),
            waived: Vec::new(),
        };
        Self {
            now: day_one(),
            licenses: vec![
                license(NSP, "acme", 1),
                license(CODED, "acme", 3),
                license(MAIL, "other", 2),
                license(DONGLE, "acme", 1),
            ],
        }
    }
}

impl License {
    pub(crate) fn takes_password(&self) -> bool {
        self.serial == NSP
    }

    pub(crate) fn on_dongle(&self) -> bool {
        self.serial == DONGLE
    }

    fn needs_proof(&self) -> bool {
        matches!(self.serial, NSP | CODED)
    }

    /// I1, from the activations themselves.
    pub(crate) fn taken(&self) -> usize {
        self.current().filter(|a| a.end.is_none()).count()
    }

    pub(crate) fn allowed(&self, now: DateTime<Utc>) -> usize {
        self.seats + usize::from(self.overlap_until.is_some_and(|last| now <= last))
    }

    fn current(&self) -> impl Iterator<Item = &Activation> {
        self.activations
            .iter()
            .filter(|a| a.generation == self.generation)
    }

    /// A ticket that ran out returned the seat to the device (T-17), unless the overlap let another one in meanwhile.
    pub(crate) fn releasing(&self, at: usize, now: DateTime<Utc>) -> bool {
        let activation = &self.activations[at];
        let begun = activation.end.is_none() && !activation.tickets.is_empty();
        activation.ticket_out(now) || (begun && self.taken() > self.seats)
    }

    /// The newest activation of a device, whatever became of it.
    pub(crate) fn newest(&self, device: u32) -> Option<usize> {
        self.activations.iter().rposition(|a| a.device == device)
    }

    pub(crate) fn held(&self, device: u32) -> Option<usize> {
        self.activations
            .iter()
            .position(|a| a.device == device && a.generation == self.generation && a.end.is_none())
    }

    pub(crate) fn last_day(&self) -> CivilDate {
        self.terms.iter().map(Term::last).max().unwrap()
    }

    fn covered(&self, now: DateTime<Utc>) -> bool {
        self.terms.iter().any(|term| term.covers(date(now)))
    }

    fn usable(&self) -> Verdict {
        match self.standing {
            Standing::Issued => Ok(()),
            Standing::Suspended => Err("LICENSE_SUSPENDED"),
            Standing::Revoked => Err("LICENSE_FINAL"),
        }
    }

    pub(crate) fn owned_by(&self, partner: &str) -> Verdict {
        if self.partner == partner {
            Ok(())
        } else {
            Err("NOT_YOUR_CUSTOMER")
        }
    }

    /// The credential alone (T-25 to T-28, A-20).
    pub(crate) fn credential(&self, shown: Shown) -> Verdict {
        match shown {
            Shown::Right => Ok(()),
            Shown::ProductCodeOf(_) if self.takes_password() => Err("CREDENTIAL_KIND_MISMATCH"),
            Shown::ProductCodeOf(device) if !self.on_dongle() => {
                let named = self.newest(device).map(|at| &self.activations[at]);
                let known = named.is_some_and(|a| a.end.is_none());
                if known {
                    Ok(())
                } else {
                    Err("CREDENTIAL_INVALID")
                }
            }
            Shown::Wrong | Shown::ProductCodeOf(_) => Err("CREDENTIAL_INVALID"),
        }
    }

    /// The seat a device gets: its own again, or a new one.
    pub(crate) fn activate(
        &self,
        now: DateTime<Utc>,
        device: u32,
        shown: Shown,
        build_date: CivilDate,
    ) -> Verdict<Option<usize>> {
        self.credential(shown)?;
        self.usable()?;
        match self.sealed {
            Some(Sealed::ForEver) => return Err("CODE_ALREADY_ISSUED"),
            Some(Sealed::Until(until)) if now < until => return Err("CODE_ALREADY_ISSUED"),
            _ => {}
        }
        if self.on_dongle() {
            return Err("HARDWARE_KEY_LICENSE");
        }
        let held = self.held(device);
        if let Shown::ProductCodeOf(owner) = shown
            && (held.is_none() || owner != device)
        {
            return Err("CREDENTIAL_INVALID");
        }
        if build_date > self.last_day() {
            return Err("BUILD_NOT_COVERED");
        }
        match held {
            Some(at) if self.releasing(at, now) => Err("RELEASE_IN_PROGRESS"),
            Some(at) => Ok(Some(at)),
            None if self.taken() >= self.allowed(now) => Err("NO_SEAT"),
            None => Ok(None),
        }
    }

    pub(crate) fn seat(&mut self, id: String, device: u32, code: String) {
        self.activations.push(Activation {
            id,
            device,
            generation: self.generation,
            end: None,
            tickets: Vec::new(),
            waived: false,
            consumed: false,
            code,
        });
    }

    pub(crate) fn verify(&self, at: usize, now: DateTime<Utc>) -> Verdict {
        let activation = &self.activations[at];
        activation.open()?;
        if self.releasing(at, now) {
            return Err("RELEASE_IN_PROGRESS");
        }
        self.usable()
    }

    /// The ticket that is out already, if it is handed out again.
    pub(crate) fn begin(&self, at: usize, now: DateTime<Utc>) -> Verdict<Option<String>> {
        let activation = &self.activations[at];
        activation.open()?;
        if activation.ticket_out(now) {
            return Ok(activation.tickets.last().map(|(text, _)| text.clone()));
        }
        let year = recent(&self.returned, now);
        if year >= 4 {
            Err("RETURN_LIMIT")
        } else {
            Ok(None)
        }
    }

    pub(crate) fn begun(&mut self, at: usize, ticket: String, now: DateTime<Utc>) {
        if self.serial == MAIL {
            self.overlap_until = Some(now + TimeDelta::days(30));
        }
        let expires = now + TimeDelta::days(14);
        self.activations[at].tickets.push((ticket, expires));
    }

    /// Whether a proof that answers this ticket is new (`true`) or recorded already (`false`) (I6).
    pub(crate) fn prove(&self, at: usize, ticket: &str, now: DateTime<Utc>) -> Verdict<bool> {
        let activation = &self.activations[at];
        if matches!(activation.end, Some(End::Lost | End::Revoked)) {
            return Err("ACTIVATION_FINAL");
        }
        if activation
            .tickets
            .last()
            .is_none_or(|(last, _)| last != ticket)
        {
            return Err("TICKET_EXPIRED");
        }
        match activation.end {
            Some(End::Deactivated) => Ok(false),
            Some(End::Lost | End::Revoked) => Err("ACTIVATION_FINAL"),
            None if activation.ticket_out(now) => Ok(true),
            None => Err("TICKET_EXPIRED"),
        }
    }

    pub(crate) fn give_up(&self, at: usize, now: DateTime<Utc>, waiver: bool) -> Verdict {
        let activation = &self.activations[at];
        if waiver {
            let begun = !activation.tickets.is_empty() || activation.waived;
            if !begun {
                return Err("TICKET_REQUIRED");
            }
            if matches!(activation.end, Some(End::Deactivated | End::Lost)) {
                return Err("ILLEGAL_TRANSITION");
            }
        }
        activation.open()?;
        match (recent(&self.waived, now), waiver) {
            (0, _) => Ok(()),
            (_, true) => Err("WAIVER_LIMIT"),
            (_, false) => Err("LOST_LIMIT"),
        }
    }

    /// Ends an activation, and lets a request that waited for it go on (T-17).
    pub(crate) fn ended(&mut self, at: usize, end: End, now: DateTime<Utc>) {
        self.activations[at].end = Some(end);
        match end {
            End::Deactivated => self.returned.push(now),
            End::Lost => {
                self.waived.push(now);
                self.activations[at].waived = true;
            }
            End::Revoked => {}
        }
        if self.taken() == 0
            && self.is_paid_for()
            && let Some(request) = self.requests.last_mut()
            && request.at(now) == Asked::Waiting
        {
            request.state = Asked::Approved;
        }
    }

    pub(crate) fn request(&self, now: DateTime<Utc>) -> Verdict<Asked> {
        match self.requests.last().map(|request| request.at(now)) {
            Some(Asked::CodeIssued) => return Err("CODE_ALREADY_ISSUED"),
            Some(Asked::Waiting | Asked::Approved) => return Err("ALREADY_EXISTS"),
            _ => {}
        }
        self.usable()?;
        if !self.covered(now) {
            return Err("SMA_EXPIRED");
        }
        Ok(if self.taken() > 0 {
            Asked::Waiting
        } else {
            Asked::Approved
        })
    }

    pub(crate) fn requested(
        &mut self,
        id: String,
        state: Asked,
        bound_to: Option<u32>,
        now: DateTime<Utc>,
    ) {
        self.requests.push(Request {
            id,
            generation: self.generation,
            state,
            bound_to,
            codes: Vec::new(),
            expires: now + TimeDelta::days(90),
        });
    }

    pub(crate) fn withdraw(&self, now: DateTime<Utc>) -> Verdict {
        match self.requests.last().unwrap().at(now) {
            Asked::Waiting | Asked::Approved => Ok(()),
            Asked::CodeIssued => Err("CODE_ALREADY_ISSUED"),
            Asked::Redeemed | Asked::Withdrawn | Asked::Expired => Err("UPGRADE_FINAL"),
        }
    }

    /// Whether a return that no code has consumed is there, or none is due.
    fn is_paid_for(&self) -> bool {
        let returns = |a: &&Activation| matches!(a.end, Some(End::Deactivated | End::Lost));
        let paid = self.current().filter(returns).any(|a| !a.consumed);
        !self.needs_proof() || self.current().next().is_none() || paid
    }

    /// I7: maintenance at the time of the code, every seat back, and a return that no other code has consumed.
    pub(crate) fn issue(&self, now: DateTime<Utc>) -> Verdict {
        match self.requests.last().unwrap().at(now) {
            Asked::Approved => {}
            Asked::Waiting => return Err("PROOF_REQUIRED"),
            Asked::CodeIssued => return Err("CODE_ALREADY_ISSUED"),
            Asked::Redeemed | Asked::Withdrawn | Asked::Expired => return Err("UPGRADE_FINAL"),
        }
        self.usable()?;
        if !self.covered(now) {
            return Err("SMA_EXPIRED");
        }
        if self.taken() > 0 {
            return Err("SEAT_IN_USE");
        }
        if self.is_paid_for() {
            return Ok(());
        }
        let generation = self.generation;
        let mut codes = self.requests.iter().filter(|r| r.generation == generation);
        let before = codes.any(|r| !r.codes.is_empty());
        Err(if before {
            "PROOF_ALREADY_USED"
        } else {
            "PROOF_REQUIRED"
        })
    }

    pub(crate) fn reissue(&self, now: DateTime<Utc>) -> Verdict {
        match self.requests.last().unwrap().at(now) {
            Asked::CodeIssued => {}
            Asked::Waiting | Asked::Approved => return Err("ILLEGAL_TRANSITION"),
            Asked::Redeemed | Asked::Withdrawn | Asked::Expired => return Err("UPGRADE_FINAL"),
        }
        self.usable()?;
        if self.covered(now) {
            Ok(())
        } else {
            Err("SMA_EXPIRED")
        }
    }

    pub(crate) fn issued(&mut self, code: String, now: DateTime<Utc>) {
        let generation = self.generation;
        for activation in &mut self.activations {
            activation.consumed |= activation.generation == generation && activation.end.is_some();
        }
        let as_file = self.on_dongle() || self.requests.last().unwrap().bound_to.is_some();
        let request = self.requests.last_mut().unwrap();
        request.state = Asked::CodeIssued;
        request.expires = now + TimeDelta::days(90);
        request.codes.push(code);
        self.sealed = match self.sealed {
            Some(Sealed::ForEver) => Some(Sealed::ForEver),
            _ if as_file => Some(Sealed::ForEver),
            _ => Some(Sealed::Until(request.expires)),
        };
    }

    /// Redeems the newest code of the last request that has one, or the one before it.
    pub(crate) fn redeem(
        &self,
        at: usize,
        device: u32,
        newest: bool,
        now: DateTime<Utc>,
    ) -> Verdict {
        let request = &self.requests[at];
        if request.state != Asked::Redeemed && request.generation != self.generation {
            return Err("UPGRADE_FINAL");
        }
        if !newest {
            return Err("CODE_TOO_OLD");
        }
        match request.at(now) {
            Asked::CodeIssued => {}
            Asked::Redeemed => return Err("CODE_ALREADY_REDEEMED"),
            _ => return Err("UPGRADE_FINAL"),
        }
        if request.bound_to.is_some_and(|bound| bound != device) {
            return Err("WRONG_DEVICE");
        }
        match self.standing {
            Standing::Issued => Ok(()),
            Standing::Suspended => Err("LICENSE_SUSPENDED"),
            Standing::Revoked => Err("LICENSE_FINAL"),
        }
    }

    pub(crate) fn redeemed(&mut self, at: usize) {
        self.requests[at].state = Asked::Redeemed;
        self.generation += 1;
        self.overlap_until = None;
        self.sealed = None;
    }

    /// I9: a renewal goes on where cover ends; after a lapse it starts today.
    pub(crate) fn renew(&mut self, count: u32, now: DateTime<Utc>) -> Verdict {
        if self.standing == Standing::Revoked {
            return Err("LICENSE_FINAL");
        }
        if count > if self.on_dongle() { 50 } else { 1 } {
            return Err("TOO_MANY_TERMS");
        }
        let today = date(now);
        let first = self.last_day().next().unwrap().max(today);
        self.terms.extend(Term::chain(first, 12, count).unwrap());
        Ok(())
    }

    pub(crate) fn decide(&mut self, to: Standing) -> Verdict {
        use Standing::{Issued, Revoked, Suspended};
        match (self.standing, to) {
            (Revoked, _) => Err("LICENSE_FINAL"),
            (Issued, Suspended) | (Suspended, Issued) | (_, Revoked) => {
                self.standing = to;
                Ok(())
            }
            _ => Err("ILLEGAL_TRANSITION"),
        }
    }
}

impl Activation {
    /// A ticket is out.
    pub(crate) fn ticket_out(&self, now: DateTime<Utc>) -> bool {
        self.end.is_none()
            && self
                .tickets
                .last()
                .is_some_and(|(_, expires)| now < *expires)
    }

    fn open(&self) -> Verdict {
        if self.end.is_some() {
            Err("ACTIVATION_FINAL")
        } else {
            Ok(())
        }
    }
}

impl Request {
    pub(crate) fn at(&self, now: DateTime<Utc>) -> Asked {
        let closed = matches!(
            self.state,
            Asked::Redeemed | Asked::Withdrawn | Asked::Expired
        );
        if !closed && now >= self.expires {
            Asked::Expired
        } else {
            self.state
        }
    }
}

/// How many of these lie in the last 365 days.
fn recent(days: &[DateTime<Utc>], now: DateTime<Utc>) -> usize {
    let year = TimeDelta::days(365);
    days.iter().filter(|day| now - **day < year).count()
}

pub(crate) fn date(at: DateTime<Utc>) -> CivilDate {
    CivilDate::from_naive(at.date_naive()).unwrap()
}
