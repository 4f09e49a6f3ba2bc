//! TLS, mTLS and bearer tokens on all three transports.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use mach_rpc::settings::TlsSettings;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::support::{Serving, post, read_answer, read_exactly, read_to_end, serve};

const TOKEN: &str = "5d1cf0e8a3b24c6f9e7d8a1b2c3d4e5f";
const CONNECTED: &[u8] = b"HTTP/1.0 200 Connected to Go RPC\n\n";

/// An authority, a server's certificate and a client's, as files.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        for (name, purpose) in [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
            params.extended_key_usages = vec![purpose];
            let certificate = params.signed_by(&key, &issuer).unwrap();
            fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            fs::write(
                folder.path().join(format!("{name}.key")),
                key.serialize_pem(),
            )
            .unwrap();
        }
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn settings(&self, mutual: bool) -> TlsSettings {
        TlsSettings {
            certificate_file: self.path().join("server.pem"),
            private_key_file: self.path().join("server.key"),
            client_ca_file: mutual.then(|| self.path().join("ca.pem")),
        }
    }

    fn connect(
        &self,
        stream: TcpStream,
        with_certificate: bool,
        alpn: &[u8],
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.path().join("ca.pem")).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = if with_certificate {
            let chain =
                vec![CertificateDer::from_pem_file(self.path().join("client.pem")).unwrap()];
            let key = PrivateKeyDer::from_pem_file(self.path().join("client.key")).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        if !alpn.is_empty() {
            config.alpn_protocols = vec![alpn.to_vec()];
        }
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(
            ClientConnection::new(Arc::new(config), name).unwrap(),
            stream,
        )
    }
}

/// The start of an HTTP/2 conversation; the server's first frame must be its SETTINGS.
fn greet_h2(stream: &mut (impl Read + Write)) {
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        .unwrap();
    assert_eq!(read_exactly(stream, 9)[3], 4);
}

fn assert_all_serve(serving: &Serving, certificates: &Certificates, with_certificate: bool) {
    let mut jsonrpc = certificates.connect(serving.jsonrpc(), with_certificate, b"http/1.1");
    assert_eq!(post(&mut jsonrpc, b"{}", "").status, 200);
    let mut no_alpn = certificates.connect(serving.jsonrpc(), with_certificate, b"");
    assert_eq!(post(&mut no_alpn, b"{}", "").status, 200);
    greet_h2(&mut certificates.connect(serving.grpc(), with_certificate, b"h2"));
    let mut net_rpc = certificates.connect(serving.net_rpc(), with_certificate, b"");
    net_rpc.write_all(b"CONNECT /_goRPC_ HTTP/1.0\n\n").unwrap();
    assert_eq!(read_exactly(&mut net_rpc, CONNECTED.len()), CONNECTED);
}

#[test]
fn tls_serves_all_three_and_nothing_in_the_clear() {
    let certificates = Certificates::new();
    let serving = serve(|settings| settings.tls = Some(certificates.settings(false)));
    assert_all_serve(&serving, &certificates, false);
    let mut clear = serving.jsonrpc();
    clear.write_all(b"POST / HTTP/1.1\r\n\r\n").unwrap();
    assert!(!read_to_end(&mut clear).starts_with(b"HTTP"));
    serving.assert_refused("tls", 1);
}

#[test]
fn mutual_tls_wants_a_certificate_of_its_authority() {
    let certificates = Certificates::new();
    let serving = serve(|settings| settings.tls = Some(certificates.settings(true)));
    assert_all_serve(&serving, &certificates, true);
    let mut without = certificates.connect(serving.jsonrpc(), false, b"");
    let refused = without
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .and_then(|()| without.read(&mut [0; 10]));
    assert!(refused.is_err());
    let mut stranger = Certificates::new().connect(serving.jsonrpc(), true, b"");
    assert!(
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").is_err(),
        "each side distrusts the other"
    );
}

#[test]
fn a_slow_or_silent_handshake_is_cut_off() {
    let certificates = Certificates::new();
    let serving = serve(|settings| {
        settings.tls = Some(certificates.settings(false));
        settings.limits.head_s = 0.2;
    });
    assert_eq!(read_to_end(&mut serving.net_rpc()), b"");
    serving.assert_refused("slow", 1);
}

#[test]
fn an_idle_tls_connection_is_not_taken_for_a_slow_one() {
    let certificates = Certificates::new();
    let serving = serve(|settings| {
        settings.tls = Some(certificates.settings(false));
        settings.limits.head_s = 0.1;
        settings.limits.idle_s = 0.6;
    });
    let mut stream = certificates.connect(serving.jsonrpc(), false, b"");
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    read_to_end(&mut stream.sock);
    serving.assert_refused("idle", 1);
    serving.assert_refused("slow", 0);
}

#[test]
fn broken_files_are_named() {
    let certificates = Certificates::new();
    let error = |change: &dyn Fn(&mut TlsSettings)| {
        let mut settings = mach_rpc::ServerSettings::default();
        let mut tls = certificates.settings(true);
        change(&mut tls);
        settings.tls = Some(tls);
        let core = Arc::new(crate::support::Scripted::default());
        mach_rpc::Server::start(&settings, core)
            .unwrap_err()
            .to_string()
    };
    let client_key = certificates.path().join("client.key");
    assert!(
        error(&|tls| tls.certificate_file = "/no/server.pem".into()).contains("/no/server.pem")
    );
    assert!(error(&|tls| tls.client_ca_file = Some(client_key.clone())).contains("client.key"));
    assert!(
        error(&|tls| tls.private_key_file = certificates.path().join("ca.pem"))
            .contains("a private key")
    );
    assert!(error(&|tls| tls.private_key_file = client_key.clone()).contains("server.pem"));
}

#[test]
fn a_token_opens_every_transport_and_nothing_else_does() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tokens");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let serving = serve(|settings| settings.token_files = vec![file]);

    let mut stream = serving.jsonrpc();
    let refused = post(&mut stream, b"{}", "");
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("www-authenticate: bearer"));
    assert_eq!(
        post(
            &mut stream,
            b"{}",
            &format!("Authorization: Bearer {TOKEN}x\r\n")
        )
        .status,
        401
    );
    assert_eq!(
        post(
            &mut stream,
            b"{}",
            &format!("Authorization: Bearer {TOKEN}\r\n")
        )
        .status,
        200
    );

    let mut stream = serving.net_rpc();
    stream.write_all(b"CONNECT /_goRPC_ HTTP/1.0\n\n").unwrap();
    assert_eq!(read_answer(&mut stream).status, 401);
    let mut stream = serving.net_rpc();
    stream
        .write_all(
            format!("CONNECT /_goRPC_ HTTP/1.0\nAuthorization: Bearer {TOKEN}\n\n").as_bytes(),
        )
        .unwrap();
    assert_eq!(read_exactly(&mut stream, CONNECTED.len()), CONNECTED);
    serving.assert_refused("token", 3);
}
