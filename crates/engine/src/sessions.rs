//! Signing in and out. Passwords are argon2id hashes; a wrong address costs the
//! same work as a wrong password.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use aws_lc_rs::digest;
use jiff::SignedDuration;
use postroom_model::{
    UserId,
    user::{Role, RoutingStatus},
};
use postroom_store::{
    DbError, Unit, sessions,
    users::{self, User},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Engine, desk::DeskError};

/// A session ends this long after it began.
const LIFETIME: SignedDuration = SignedDuration::from_hours(12);
/// The shortest password that may be set, in characters.
pub const SHORTEST_PASSWORD: usize = 10;

/// Somebody has signed in.
pub struct SignedIn {
    /// What the browser keeps.
    pub token: SecretString,
    /// Who it is.
    pub user: User,
}

/// Signing in failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Address or password is wrong; which, is not said.
    #[error("address or password is wrong")]
    Wrong,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] DbError),
}

/// A password was not set.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is too short.
    #[error("a password has at least {SHORTEST_PASSWORD} characters")]
    TooShort,
    /// Nobody has this address.
    #[error(
        "there is no user with this address; add them with --role agent, supervisor or admin, or by the organisation file"
    )]
    NoSuchUser,
    /// It could not be hashed.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] DbError),
}

impl Engine {
    /// Begins a session, if the password is right.
    ///
    /// # Errors
    /// [`SignInError::Wrong`] for an unknown address and for a wrong password alike.
    pub async fn sign_in(&self, email: &str, password: &SecretString) -> Result<SignedIn, SignInError> {
        let email = email.trim().to_lowercase();
        let found = users::find_password_hash(&self.store().db, &email).await?;
        let (id, hash) = match found {
            Some((id, hash)) => (Some(id), Some(hash)),
            None => (None, None),
        };
        let (password, salt) = (password.clone(), self.entropy().bytes::<16>());
        let right = self.tasks().cpu(move || verify(hash.as_deref(), &password, &salt)).await;
        let Some(id) = id.filter(|_| right) else { return Err(SignInError::Wrong) };
        let user = users::find(&self.store().db, id).await?.ok_or(SignInError::Wrong)?;
        let token = SecretString::from(self.entropy().token());
        let now = self.now();
        let row = sessions::insert(&hashed(token.expose_secret()), user.id, now, now + LIFETIME);
        self.store().commit(Unit::new().with(row)).await?;
        Ok(SignedIn { token, user })
    }

    /// Whose session a token stands for, if it has not ended.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find_session(&self, token: &str) -> Result<Option<User>, DbError> {
        let db = &self.store().db;
        match sessions::find_user(db, &hashed(token), self.now()).await? {
            Some(id) => users::find(db, id).await,
            None => Ok(None),
        }
    }

    /// Ends a session. An agent who signs out takes nothing any more: off queue, and
    /// what was being offered goes back to its queue.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_session(&self, by: &User, token: &SecretString) -> Result<(), DeskError> {
        if by.routing_status != RoutingStatus::OffQueue && by.roles.contains(&Role::Agent) {
            self.set_routing_status(by, RoutingStatus::OffQueue).await?;
        }
        let unit = Unit::new().with(sessions::delete(&hashed(token.expose_secret())));
        self.store().commit(unit).await?;
        Ok(())
    }

    /// Sets a person's password and ends their sessions.
    ///
    /// # Errors
    /// When it is too short, or nobody has the address.
    pub async fn set_password(&self, email: &str, password: SecretString) -> Result<UserId, PasswordError> {
        if password.expose_secret().chars().count() < SHORTEST_PASSWORD {
            return Err(PasswordError::TooShort);
        }
        let user = users::find_by_email(&self.store().db, &email.trim().to_lowercase())
            .await?
            .ok_or(PasswordError::NoSuchUser)?;
        let salt = self.entropy().bytes::<16>();
        let hash = self.tasks().cpu(move || hash(&password, &salt)).await.map_err(PasswordError::Hash)?;
        let unit =
            Unit::new().with(users::record_password(user.id, &hash)).with(sessions::delete_all_of(user.id));
        self.store().commit(unit).await?;
        Ok(user.id)
    }

    /// Sets the language of a person's screens (`en` or `ja`).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_locale(&self, by: &User, locale: &str) -> Result<(), DbError> {
        self.store().commit(Unit::new().with(users::record_locale(by.id, locale))).await.map(drop)
    }
}

fn hashed(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().to_vec()
}

fn hash(password: &SecretString, salt: &[u8]) -> Result<String, String> {
    Argon2::default()
        .hash_password_with_salt(password.expose_secret().as_bytes(), salt)
        .map(|hash| hash.to_string())
        .map_err(|error| error.to_string())
}

/// Checks a password; without a hash it does the same work and answers no.
fn verify(hash: Option<&str>, password: &SecretString, salt: &[u8]) -> bool {
    let Some(hash) = hash else {
        let _same_work = self::hash(password, salt);
        return false;
    };
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_is_right() {
        let right = SecretString::from("correct horse battery");
        let hash = hash(&right, &[7; 16]).unwrap();
        assert!(verify(Some(&hash), &right, &[0; 16]));
        assert!(!verify(Some(&hash), &SecretString::from("correct horse"), &[0; 16]));
        assert!(!verify(None, &right, &[0; 16]));
    }
}
