//! Every option, in one table.

/// One option.
#[derive(Debug)]
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What holds when nobody says otherwise.
    pub default: &'static str,
    /// What it means, with its unit.
    pub doc: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
}

const fn key(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { name, default, doc, secret: false }
}

const fn secret(name: &'static str, doc: &'static str) -> Key {
    Key { name, default: "", doc, secret: true }
}

/// Every option.
pub const KEYS: [Key; 59] = [
    key("http.listen", "127.0.0.1:8080", "address of the public listener; port 0 picks a free one"),
    key("http.connections_max", "1024", "open connections of the public listener; more wait in the system's queue"),
    key("http.in_flight_max", "2048", "requests answered at once; more are refused with `overloaded`"),
    key("http.request_timeout", "5s", "how long a request may take inside"),
    key("http.head_timeout", "5s", "how long a client may take to send a request's head"),
    key("http.body_timeout", "5s", "how long a client may take to send a request's body"),
    key(
        "http.cors_origins",
        "*",
        "origins whose pages may call the API, separated by commas; * = any, none = no header",
    ),
    key("admin.listen", "127.0.0.1:9090", "address of the operators' listener; never make it public"),
    secret(
        "admin.token",
        "operators' token, sent as Bearer; without one only reads work, save on a loopback address, where all do",
    ),
    key(
        "cluster.node_name",
        "n1",
        "this node's name, the same at every start; its certificate carries it as a DNS name",
    ),
    key(
        "cluster.listen",
        "127.0.0.1:7946",
        "address for the other nodes; opened where the store is one that several nodes share",
    ),
    key("cluster.advertise", "", "host:port at which the others reach cluster.listen; empty = its own address"),
    key("cluster.tls_ca", "", "PEM file of the authorities that sign the nodes' certificates"),
    key("cluster.tls_cert", "", "PEM file of this node's certificate"),
    key("cluster.tls_key", "", "PEM file of that certificate's private key"),
    key(
        "cluster.insecure",
        "false",
        "whether nodes talk in plain text and whoever reaches cluster.listen may be one: never where shoppers are",
    ),
    key(
        "store.kind",
        "embedded",
        "embedded = a directory of this machine; scylla = ScyllaDB or Apache Cassandra 5; remote = another process of this machine serves it; memory = nothing is kept (tests)",
    ),
    key(
        "store.socket",
        "",
        "path of the Unix socket at which another process serves the store, for store.kind = remote",
    ),
    key("store.data_dir", "trolley-data", "directory of the embedded store; made when absent"),
    key("store.cache_bytes", "4194304", "blocks of the embedded store kept in memory"),
    key("store.free_bytes_min", "67108864", "free bytes on the disk below which writes are refused"),
    key(
        "store.contact_points",
        "127.0.0.1:9042",
        "nodes of the database, host:port separated by commas; the others are found",
    ),
    key("store.keyspace", "trolley", "keyspace of the database; `trolley migrate` makes it"),
    key("store.local_dc", "", "data centre of the database that this node uses; needed when there are several"),
    key("store.replication_factor", "3", "copies of each row in the data centre, for a keyspace that is made"),
    key("store.user", "", "the database's user; empty = it asks for none"),
    secret(
        "store.password",
        "password of the database's user; better in store.password_file or the environment than in a flag",
    ),
    key("store.password_file", "", "file that holds the password, as secrets are mounted; read at the start"),
    key("store.tls_ca", "", "PEM file of authorities that sign the database's certificates; setting it turns TLS on"),
    key("store.tls_cert", "", "PEM file of this node's certificate, where the database asks for one"),
    key("store.tls_key", "", "PEM file of that certificate's private key"),
    key(
        "store.connections",
        "1",
        "connections to each shard of each node of the database; a node of Cassandra is one shard",
    ),
    key("store.connect_timeout", "5s", "how long a connection to the database may take to open; or to a remote store"),
    key(
        "store.request_timeout",
        "3s",
        "how long the database or a remote store may take to answer; a save is then of unknown outcome",
    ),
    key("store.saves_in_flight_max", "512", "saves that the database works on at once; more wait for their turn"),
    key("catalog.path", "", "JSON Lines file that is imported at the start when it differs from what the store holds"),
    key(
        "pricing.path",
        "",
        "TOML file of what shipping costs and what tax is due; read at the start; empty = built-in tables",
    ),
    key(
        "checkout.expire_after",
        "15m",
        "how long an open checkout lives, and holds its goods, without activity; at most an hour",
    ),
    key("payments.capture", "at_order", "when money is taken: at_order, or at_fulfilment = before the first parcel"),
    key(
        "payments.sandbox",
        "auto",
        "whether the bank of play money takes payments: true, false, or auto = unless the store is a database",
    ),
    secret("payments.stripe_secret_key", "secret key of a Stripe account, which then takes payments"),
    secret(
        "payments.stripe_webhook_secret",
        "signs what Stripe posts to /webhooks/stripe; without it nothing is taken",
    ),
    key("payments.stripe_url", "https://api.stripe.com", "where Stripe is"),
    key("payments.return_url", "", "where Stripe sends shoppers back to after they did what their bank required"),
    key("events.sinks", "none", "where events go, separated by commas: log, webhook; none = nowhere"),
    key("events.source", "/trolley", "which shop tells: the `source` of every event, a URI or a path"),
    secret("events.webhook_urls", "URLs that every event is posted to, separated by commas; their paths may be secret"),
    secret("events.webhook_secret", "whsec_ and base64 of 24–64 random bytes: signs what is posted"),
    key("events.webhook_ca", "", "PEM file of authorities of the webhooks' certificates; empty = the system's"),
    key("carts.expire_after", "90d", "how long an open cart lives without a change"),
    key("actors.idle_after", "15m", "how long an actor stays in memory without use"),
    key("actors.resident_bytes_max", "536870912", "what actors in memory may weigh, estimated"),
    key("actors.shards", "256", "number of shards, a power of two; fixed when the cluster is made"),
    key(
        "shutdown.endpoint_lag",
        "0s",
        "how long a node that stops is unready and serves on, until nobody sends it requests any more",
    ),
    key("shutdown.patience", "20s", "how long a stop waits for requests and saves that it began"),
    key("runtime.threads", "0", "worker threads; 0 = one for each core"),
    key("log.format", "auto", "text, json, or auto = text on a terminal and json otherwise"),
    key("log.level", "info", "error, warn, info, debug or trace, or a filter such as info,trolley=debug"),
    key("log.requests", "false", "whether every request is logged"),
];
