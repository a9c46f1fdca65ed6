//! What the steps of a history share: sending, losing answers, and comparing with the model.

use super::*;

/// What steps share.
impl Player {
    /// Sends a call and gets its last answer; afterwards the call has had its one effect, if it was to have any.
    pub(super) async fn call(&mut self, sent: Sent, reply: Reply) -> Result<Got, Status> {
        match reply {
            Reply::Comes => {}
            Reply::Lost => self.drop_answer(sent.clone()).await,
            Reply::Doubled => {
                let (one, other) =
                    tokio::join!(self.world.send(sent.clone()), self.world.send(sent.clone()));
                match (one, other) {
                    (Ok(one), Ok(other)) => assert_eq!(one, other, "{}", self.at),
                    (Err(one), Err(other)) => assert_eq!(reason(&one), reason(&other)),
                    differ => panic!("{}: {differ:?}", self.at),
                }
            }
            Reply::Crash(how) => {
                self.drop_answer(sent.clone()).await;
                self.world.crash(how);
                self.world.start().unwrap();
            }
        }
        self.world.send(sent).await
    }

    /// Starts a call and goes away before the answer.
    pub(super) async fn drop_answer(&self, sent: Sent) {
        let mut call = Box::pin(self.world.send(sent));
        poll_fn(|cx| {
            let _on_its_way = call.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
    }

    pub(super) fn compare<G, T>(
        &self,
        answer: Result<G, Status>,
        expected: Verdict<T>,
    ) -> Option<G> {
        match (answer, expected) {
            (Ok(got), Ok(_)) => Some(got),
            (Err(status), Err(expected)) => {
                assert_eq!(reason(&status), expected, "{}", self.at);
                None
            }
            (Ok(_), Err(expected)) => panic!("{}: granted instead of {expected}", self.at),
            (Err(status), Ok(_)) => panic!("{}: refused: {status:?}", self.at),
        }
    }

    pub(super) fn keep(&mut self, sent: Sent, got: Got, license: usize, generation: Option<u32>) {
        self.signed.extend(got.signed.iter().cloned());
        self.kept.push(Kept {
            sent,
            got,
            license,
            generation,
            named: None,
            at: self.model.now,
        });
    }

    pub(super) async fn credential(&mut self, l: usize, shown: Shown) -> v1::Credential {
        let unknown = Code::from_mac(&[8; 32]).to_string();
        let license = &self.model.licenses[l];
        match shown {
            Shown::Right => self.world.credential(license.serial).await,
            Shown::ProductCodeOf(d) => {
                let named = license.newest(d);
                let code = named.map(|at| license.activations[at].code.clone());
                product_code(&code.unwrap_or(unknown))
            }
            Shown::Wrong if license.takes_password() => password("wrong horse battery"),
            Shown::Wrong if license.on_dongle() => {
                secret(v1::credential::Secret::DongleNumber("d-9999".to_owned()))
            }
            Shown::Wrong => activation_code(&unknown),
        }
    }

    /// The license, its activations and its last request are as the model has them.
    pub(super) async fn compare_license(&mut self, l: usize) {
        let now = self.model.now;
        let license = &self.model.licenses[l];
        let serial = license.serial.to_owned();
        let request = v1::AdminServiceGetLicenseRequest {
            serial: serial.clone(),
        };
        let found = self.world.admin().get_license(request).await.unwrap();
        let found = found.into_inner().license.unwrap();
        let state = match license.standing {
            Standing::Issued => v1::LicenseState::Issued,
            Standing::Suspended => v1::LicenseState::Suspended,
            Standing::Revoked => v1::LicenseState::Revoked,
        };
        assert_eq!(found.state(), state, "{}", self.at);
        assert_eq!(found.generation, license.generation, "{}", self.at);
        assert_eq!(found.seats_taken as usize, license.taken(), "{}", self.at);
        assert_eq!(found.terms.len(), license.terms.len(), "{}", self.at);
        let request = v1::SupportServiceListActivationsRequest {
            serial,
            page_size: 500,
            ..Default::default()
        };
        let found = self.world.support().list_activations(request).await;
        let found = found.unwrap().into_inner().activations;
        assert_eq!(found.len(), license.activations.len(), "{}", self.at);
        for (at, activation) in license.activations.iter().enumerate() {
            let found = found.iter().find(|a| a.activation_id == activation.id);
            let state = match activation.end {
                Some(End::Deactivated) => v1::ActivationState::Deactivated,
                Some(End::Lost) => v1::ActivationState::Lost,
                Some(End::Revoked) => v1::ActivationState::Revoked,
                None if license.releasing(at, now) => v1::ActivationState::Releasing,
                None => v1::ActivationState::Active,
            };
            assert_eq!(found.unwrap().state(), state, "{}", self.at);
        }
        let Some(request) = license.requests.last() else {
            return;
        };
        let state = match request.at(now) {
            Asked::Waiting => v1::UpdateRequestState::AwaitingDeactivation,
            Asked::Approved => v1::UpdateRequestState::Approved,
            Asked::CodeIssued => v1::UpdateRequestState::CodeIssued,
            Asked::Redeemed => v1::UpdateRequestState::Redeemed,
            Asked::Withdrawn => v1::UpdateRequestState::Withdrawn,
            Asked::Expired => v1::UpdateRequestState::Expired,
        };
        let request = v1::SupportServiceGetUpdateRequestRequest {
            update_request_id: request.id.clone(),
        };
        let found = self.world.support().get_update_request(request).await;
        let found = found.unwrap().into_inner().update_request.unwrap();
        assert_eq!(found.state(), state, "{}", self.at);
    }

    /// I3: everything that was answered is there after it.
    pub(super) fn crash(&mut self, how: Crash) {
        let before = self.world.store().state_hash().unwrap();
        self.world.crash(how);
        self.world.start().unwrap();
        let after = self.world.store().state_hash().unwrap();
        assert_eq!(before, after, "{}", self.at);
    }

    /// I4, I5, I10, I15, once for each history.
    pub(super) async fn finish(&mut self) {
        let second = Store::open(self.world.options()).err();
        assert!(
            matches!(second, Some(StoreError::Locked { .. })),
            "I15: {second:?}"
        );
        let values = self.world.ledger_values();
        for signed in &self.signed {
            let stored = values.iter().any(|value| value.contains(signed));
            assert!(stored, "I4: answered and never stored: {signed}");
        }
        let hash = self.world.store().state_hash().unwrap();
        self.world.stop().unwrap();
        remove_index(&self.world.data_dir());
        self.world.start().unwrap();
        assert_eq!(self.world.store().state_hash().unwrap(), hash, "I10");
        self.world.check_records();
        for at in (0..self.kept.len()).rev().take(3) {
            self.resend(at, false).await;
        }
        self.world.stop().unwrap();
        store::verify(self.world.options()).unwrap();
    }
}
