//! Every refusal's text.

use super::*;

fn wishes() -> Wishes {
    Wishes {
        node: NodeId(1),
        shards: 2,
        cluster: parse_cluster("1=127.0.0.1:7101,2=127.0.0.1:7201,3=127.0.0.1:7301").unwrap(),
        client: "127.0.0.1:6101".parse().unwrap(),
        advertise: None,
        http: Some("127.0.0.1:8101".parse().unwrap()),
        insecure: false,
    }
}

fn refusal(change: impl FnOnce(&mut Wishes)) -> String {
    let mut wishes = wishes();
    change(&mut wishes);
    wishes.check().expect_err("refused").to_string()
}

#[test]
fn good_addresses_are_taken() {
    let addresses = wishes().check().unwrap();
    assert_eq!(addresses.peer.to_string(), "127.0.0.1:7101");
    assert_eq!(addresses.advertised, "127.0.0.1");
    let open = Wishes {
        client: "0.0.0.0:6101".parse().unwrap(),
        advertise: Some("node-1.example".to_string()),
        insecure: true,
        ..wishes()
    };
    assert_eq!(open.check().unwrap().advertised, "node-1.example");
    // Behind another node's address there may be any number of shards; only the first port is known.
    let close = parse_cluster("1=127.0.0.1:7101,2=127.0.0.1:7103,3=127.0.0.1:7104").unwrap();
    assert!(Wishes { cluster: close, ..wishes() }.check().is_ok());
}

#[test]
fn texts_are_refused_by_name() {
    let cases = [
        ("", r#"--cluster: "" is not NODE=IP:PORT, with a node from 1 to 65535"#),
        ("1=127.0.0.1:1,", r#"--cluster: "" is not NODE=IP:PORT, with a node from 1 to 65535"#),
        ("0=127.0.0.1:1", r#"--cluster: "0=127.0.0.1:1" is not NODE=IP:PORT, with a node from 1 to 65535"#),
        ("x=127.0.0.1:1", r#"--cluster: "x=127.0.0.1:1" is not NODE=IP:PORT, with a node from 1 to 65535"#),
        ("1=127.0.0.1", r#"--cluster: "127.0.0.1" is not IP:PORT"#),
        ("1=127.0.0.1:70000", r#"--cluster: "127.0.0.1:70000" is not IP:PORT"#),
        ("1=127.0.0.1:0", "--cluster: 127.0.0.1:0 has port 0, but others must know the port"),
        ("1=127.0.0.1:1,1=127.0.0.1:2", "--cluster: node 1 is listed twice"),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_cluster(text).unwrap_err().to_string(), expected);
    }
    let many: Vec<String> = (1..=8).map(|node| format!("{node}=127.0.0.1:{node}")).collect();
    let refused = parse_cluster(&many.join(",")).unwrap_err().to_string();
    assert_eq!(refused, "--cluster: 8 nodes are listed, at most 7 are possible");
    let refused = parse_address("--client", "here:1").unwrap_err().to_string();
    assert_eq!(refused, r#"--client: "here:1" is not IP:PORT"#);
}

#[test]
fn overlaps_name_both() {
    let overlap = "overlap: leave as many ports free behind each address as it has shards";
    assert_eq!(
        refusal(|wishes| wishes.cluster[1].1.set_port(7102)),
        format!("127.0.0.1:7101 to 7102 (node 1, peers) and 127.0.0.1:7102 (node 2, peers) {overlap}"),
    );
    assert_eq!(
        refusal(|wishes| wishes.cluster[2].1 = wishes.cluster[1].1),
        format!("127.0.0.1:7201 (node 2, peers) and 127.0.0.1:7201 (node 3, peers) {overlap}"),
    );
    assert_eq!(
        refusal(|wishes| {
            wishes.client = "0.0.0.0:7100".parse().unwrap();
            wishes.advertise = Some("127.0.0.1".to_string());
        }),
        format!(
            "127.0.0.1:7101 to 7102 (node 1, peers) and 0.0.0.0:7100 to 7101 (node 1, clients) {overlap}"
        ),
    );
    assert_eq!(
        refusal(|wishes| wishes.http = Some("127.0.0.1:6102".parse().unwrap())),
        format!("127.0.0.1:6101 to 6102 (node 1, clients) and 127.0.0.1:6102 (node 1, http) {overlap}"),
    );
    assert_eq!(
        refusal(|wishes| wishes.client.set_port(65535)),
        "127.0.0.1:65535 to 65536 (node 1, clients): shard 1 would listen on a port above 65535",
    );
}

#[test]
fn what_others_could_reach_or_not_reach_is_refused() {
    assert_eq!(refusal(|wishes| wishes.node = NodeId(4)), "--cluster: node 4 itself is not listed");
    assert_eq!(
        refusal(|wishes| wishes.cluster[1].1 = "0.0.0.0:7201".parse().unwrap()),
        "--cluster: node 2 has the address 0.0.0.0:7201, which no peer can connect to",
    );
    assert_eq!(
        refusal(|wishes| wishes.client = "0.0.0.0:6101".parse().unwrap()),
        "--client 0.0.0.0:6101 is a wildcard: say with --advertise which address clients should use",
    );
    let insecure =
        "is reachable from other machines, and there is no authentication: allow it with --insecure";
    assert_eq!(
        refusal(|wishes| {
            wishes.client = "0.0.0.0:6101".parse().unwrap();
            wishes.advertise = Some("10.0.0.1".to_string());
        }),
        format!("--client 0.0.0.0:6101 {insecure}"),
    );
    assert_eq!(
        refusal(|wishes| wishes.cluster[1].1 = "10.0.0.2:7201".parse().unwrap()),
        format!("--cluster 10.0.0.2:7201 {insecure}"),
    );
    for host in ["", "a b", "host:1", "0.0.0.0", "1.2.3", "-x", "a..b"] {
        let refused = refusal(|wishes| wishes.advertise = Some(host.to_string()));
        assert_eq!(refused, format!("--advertise: {host:?} is not a host name or IP address"));
    }
}
