//! A development authority and the nodes' certificates: made at the start, of use for a week, gone with the demo.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::telemetry::clock;

/// Longer than anybody lets a demo run, short enough that a key that was copied away is of no use.
const VALID_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Clocks of containers and machines on one laptop may differ by a little.
const VALID_BEFORE: Duration = Duration::from_secs(60 * 60);

/// Signs the nodes' certificates; its key is only in memory.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

/// The files of one node.
#[derive(Clone, Debug)]
pub(super) struct Certified {
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    /// Makes the directory, which only its owner can enter, and the authority.
    pub(super) fn make(dir: &Path) -> io::Result<Self> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::DirBuilder::new().mode(0o700).create(dir)?,
        }
        let mut wish = wish(Vec::new())?;
        wish.distinguished_name.push(DnType::CommonName, "trolley demo");
        wish.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        wish.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer =
            KeyPair::generate().and_then(|key| CertifiedIssuer::self_signed(wish, key)).map_err(io::Error::other)?;
        write(&dir.join("ca.pem"), &issuer.pem())?;
        Ok(Self { issuer, dir: dir.to_path_buf() })
    }

    /// A certificate for both ends of a connection, in the node's name.
    pub(super) fn certify(&self, node: &str) -> io::Result<Certified> {
        let mut wish = wish(vec![SanType::DnsName(node.try_into().map_err(io::Error::other)?)])?;
        wish.distinguished_name.push(DnType::CommonName, node);
        wish.use_authority_key_identifier_extension = true;
        wish.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = wish.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let file = |ending: &str| self.dir.join(format!("{node}.{ending}"));
        let files = Certified { authority: self.dir.join("ca.pem"), certificate: file("pem"), key: file("key") };
        write(&files.certificate, &certificate.pem())?;
        write(&files.key, &key.serialize_pem())?;
        Ok(files)
    }
}

fn wish(names: Vec<SanType>) -> io::Result<CertificateParams> {
    let mut wish = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
    wish.subject_alt_names = names;
    wish.distinguished_name = rcgen::DistinguishedName::new();
    let now = UNIX_EPOCH + Duration::from_millis(clock::now().0);
    (wish.not_before, wish.not_after) = ((now - VALID_BEFORE).into(), (now + VALID_FOR).into());
    Ok(wish)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_their_owners_alone_and_a_second_start_makes_new_ones() {
        let dir = std::env::temp_dir().join(format!("trolley-certificates-{:x}", clock::random()));
        let mut keys = Vec::new();
        for _ in 0..2 {
            let files = Authority::make(&dir).unwrap().certify("n1").unwrap();
            for path in [&files.authority, &files.certificate, &files.key] {
                assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
            }
            assert!(fs::read_to_string(&files.certificate).unwrap().starts_with("-----BEGIN CERTIFICATE"));
            keys.push(fs::read_to_string(&files.key).unwrap());
        }
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_ne!(keys[0], keys[1]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
