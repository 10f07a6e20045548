//! What only the store on a database promises: users and certificates, whose rows are gone after their time, what its
//! doctor and its probes tell.

use std::{fs, net::IpAddr, process::Command};

use loadtest::{
    client::{Connection, request},
    shop::Cart,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::Value;
use trolley::store::cql::{Options, connect, schema};

use crate::support::{
    Server, TempDir,
    cql::{Cluster, Keyspace},
    trolley,
    wait::until,
};

/// Of the user that these tests make.
const PASSWORD: &str = "correct-horse-battery";

/// An authority, a node's certificate for `address`, and a client's.
fn certificates(address: &str) -> TempDir {
    let dir = TempDir::new("tls");
    let write = |name: &str, text: String| fs::write(dir.0.join(name), text).unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let (node_key, client_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut node = CertificateParams::default();
    node.subject_alt_names = vec![SanType::IpAddress(address.parse::<IpAddr>().unwrap())];
    let node = node.signed_by(&node_key, &authority).unwrap();
    let client = CertificateParams::default().signed_by(&client_key, &authority).unwrap();
    write("ca.pem", authority.pem());
    write("node.pem", node_key.serialize_pem() + &node.pem() + &authority.pem());
    write("client.pem", client.pem());
    write("client.key", client_key.serialize_pem());
    write("password", format!("{PASSWORD}\n"));
    dir
}

#[tokio::test]
async fn a_password_and_certificates_open_a_database_and_wrong_ones_do_not() {
    // Every process its own, outside of those that the starter picks by itself.
    let pid = std::process::id();
    let net = format!("127.{}.{}", 214 + pid / 250 % 40, 1 + pid % 250);
    let dir = certificates(&format!("{net}.1"));
    let cluster = Cluster::secure(&net, &dir);
    let keyspace = Keyspace::unused(&cluster);
    let superuser =
        Options { user: Some("cassandra".to_owned()), password: Some("cassandra".into()), ..keyspace.patient() };
    let session = connect(&superuser).await.unwrap();
    session.query_unpaged(format!("CREATE ROLE shop WITH PASSWORD = '{PASSWORD}' AND LOGIN = true"), ()).await.unwrap();
    let file = |name: &str| dir.0.join(name).display().to_string();
    let said = |options: &[String]| {
        let mut migrate = trolley();
        migrate.arg("migrate");
        keyspace.configure(&mut migrate);
        let output = migrate.args(options.iter().flat_map(|option| ["--set", option])).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let user = ["store.user=shop".to_owned(), format!("store.password_file={}", file("password"))];
    let ca = format!("store.tls_ca={}", file("ca.pem"));
    let client = [format!("store.tls_cert={}", file("client.pem")), format!("store.tls_key={}", file("client.key"))];

    let (code, why) = said(&[ca.clone(), client[0].clone(), client[1].clone()]);
    assert!(code == Some(1) && why.contains("Authentication is required"), "no user: {why}");
    let (code, why) = said(&[user[0].clone(), "store.password=horse-staple".to_owned()]);
    assert!(code == Some(1) && why.contains("incorrect") && !why.contains("horse"), "a wrong password: {why}");
    let (code, why) = said(&[user[0].clone(), user[1].clone(), ca.clone()]);
    assert!(code == Some(1) && why.contains("cannot be reached"), "no certificate: {why}");
    let other = certificates(&format!("{net}.1"));
    let stranger = format!("store.tls_ca={}", other.0.join("ca.pem").display());
    let (code, why) = said(&[user[0].clone(), user[1].clone(), stranger, client[0].clone(), client[1].clone()]);
    assert!(code == Some(1) && why.contains("cannot be reached"), "another authority: {why}");
    let all: Vec<String> = user.into_iter().chain([ca]).chain(client).collect();
    assert_eq!(said(&all).0, Some(0), "{}", said(&all).1);

    let data = TempDir::new("tls");
    let server = Server::start_with(&data.0, |command| {
        keyspace.configure(command);
        command.args(all.iter().flat_map(|option| ["--set", option]));
    });
    let mut connection = Connection::open(&server.http).await.unwrap();
    let cart = Cart::make(&mut connection).await.unwrap();
    assert_eq!(connection.exchange(&cart.add("mug-blue", 1, None)).await.unwrap(), 200);
    assert!(!server.stop().contains(PASSWORD), "the password is in the log");
}

#[tokio::test]
async fn timers_wake_and_what_is_finished_is_forgotten_in_time() {
    let keyspace = Keyspace::migrated(Cluster::single()).await;
    let dir = TempDir::new("cql");
    let server = Server::start_with(&dir.0, |command: &mut Command| {
        keyspace.configure(command);
        command.args(["--set", "carts.expire_after=1s"]);
    });
    let mut connection = Connection::open(&server.http).await.unwrap();
    let cart = Cart::make(&mut connection).await.unwrap();
    let session = keyspace.session().await;
    let ttl = format!("SELECT TTL(body) FROM {}.carts", keyspace.name);
    let ttl_s = until("the timer has finished the cart", || async {
        let rows = session.query_unpaged(ttl.as_str(), ()).await.unwrap().into_rows_result().unwrap();
        rows.single_row::<(Option<i32>,)>().unwrap().0
    })
    .await;
    assert!((29 * 86_400..=30 * 86_400).contains(&ttl_s), "{ttl_s} s to live");
    until("shoppers are told", || async {
        let read = cart.read(&mut Connection::open(&server.http).await.ok()?).await.ok()?.json();
        (read["status"] == "expired" || read["code"] == "expired").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_catalogue_is_imported_beside_running_nodes_which_follow() {
    let keyspace = Keyspace::migrated(Cluster::single()).await;
    let dir = TempDir::new("cql");
    let server = Server::start_with(&dir.0, |command| keyspace.configure(command));
    let file = dir.0.join("products.jsonl");
    let product =
        r#"{"sku":"kite-red","title":"Kite, red","price":{"amount":1999,"currency":"EUR"},"availability":"in_stock"}"#;
    fs::write(&file, product).unwrap();
    let mut import = trolley();
    import.args(["catalog", "import"]).arg(&file);
    keyspace.configure(&mut import);
    let imported = import.output().unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let mut connection = Connection::open(&server.http).await.unwrap();
    let kite = request("GET", "/v1/products/kite-red", &[], None);
    until("the node serves the new catalogue", || {
        let (kite, address) = (kite.clone(), server.http.clone());
        async move {
            let status = Connection::open(&address).await.unwrap().exchange(&kite).await.unwrap();
            (status == 200).then_some(())
        }
    })
    .await;
    let cart = Cart::make(&mut connection).await.unwrap();
    assert_eq!(connection.exchange(&cart.add("kite-red", 1, None)).await.unwrap(), 200);
}

/// A database that is away leaves a node ready, a schema that it cannot work with does not.
#[tokio::test]
async fn readiness_tells_a_wrong_schema_from_everything_else() {
    let keyspace = Keyspace::migrated(Cluster::single()).await;
    let dir = TempDir::new("cql");
    let server = Server::start_with(&dir.0, |command| keyspace.configure(command));
    let admin = server.admin.clone();
    let ready = async || {
        let ask = request("GET", "/health/ready?verbose", &[], None);
        let answer = Connection::open(&admin).await.unwrap().ask(&ask).await.unwrap();
        (answer.status, answer.json())
    };
    assert_eq!(ready().await.0, 200);
    let session = keyspace.session().await;
    let next = schema::latest() + 1;
    let newer = format!(
        "UPDATE {}.schema_migrations SET name = 'later', sha256 = '0', state = 'applied', readable_from = {next} \
         WHERE id = {next} IF name = null",
        keyspace.name
    );
    session.query_unpaged(newer, ()).await.unwrap();
    let told = until("the node has noticed", || async {
        let (status, told) = ready().await;
        (status == 503).then_some(told)
    })
    .await;
    let schema = told["checks"].as_array().unwrap().iter().find(|check| check["name"] == "schema").unwrap();
    assert_eq!(schema["ok"], false);
    assert!(schema["detail"].as_str().unwrap().contains("use a release that is at least as new"), "{schema}");
}

#[tokio::test]
async fn the_doctor_looks_at_the_database_and_says_how_to_mend_it() {
    let diagnose = |keyspace: &Keyspace, more: &[&str]| -> (Option<i32>, Vec<Value>) {
        let mut doctor = trolley();
        doctor.args(["doctor", "--json"]);
        keyspace.configure(&mut doctor);
        doctor.args(["--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:1"]);
        let output = doctor.args(more).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), told["checks"].as_array().unwrap().clone())
    };
    let of = |checks: &[Value], name: &str| checks.iter().find(|check| check["check"] == name).cloned().unwrap();
    let keyspace = Keyspace::unused(Cluster::single());
    let (code, checks) = diagnose(&keyspace, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(of(&checks, "schema")["fix"], "run `trolley migrate` with the same options");
    assert_eq!(of(&checks, "replication")["fix"], "run trolley migrate");
    keyspace.migrate().await;
    let (_, checks) = diagnose(&keyspace, &[]);
    for fine in ["database", "release", "consistency", "database clock", "schema", "store", "shard map"] {
        assert_eq!(of(&checks, fine)["ok"], true, "{}", of(&checks, fine));
    }
    assert!(of(&checks, "release")["found"].as_str().unwrap().contains("Apache Cassandra 5.0.9"));
    assert!(of(&checks, "replication")["fix"].as_str().unwrap().starts_with("ALTER KEYSPACE"), "one copy is too few");
    let (code, checks) = diagnose(&keyspace, &["--set", "store.contact_points=127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    assert!(of(&checks, "database")["found"].as_str().unwrap().contains("cannot be reached"));
}
