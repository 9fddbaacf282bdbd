//! COMMAND: what clients can learn about commands, and the HELP of every command with subcommands.

use super::plan::{Context, Plan, refuse, syntax_error};
use super::session::Session;
use super::spec::{self, Keys, Spec, Verb};
use crate::kv::glob;
use net::resp::{Proto, reply};

pub(super) fn plan<'a>(
    verb: Verb,
    session: &mut Session,
    context: Context<'a, '_>,
    out: &mut Vec<u8>,
) -> Plan<'a> {
    let args = context.args;
    let proto = session.proto;
    match verb {
        Verb::Command => describe_all(proto, out),
        Verb::CommandInfo if args.len() == 2 => describe_all(proto, out),
        Verb::CommandInfo => {
            reply::array_header(out, args.len() - 2);
            for name in &args[2..] {
                match named(name) {
                    Some(spec) => describe(spec, proto, out),
                    None => reply::null(out, proto),
                }
            }
        }
        Verb::CommandCount => reply::integer(out, i64::try_from(spec::all().len()).expect("a short table")),
        Verb::CommandDocs => docs(&args[2..], proto, out),
        Verb::CommandList => return list(&args[2..], out),
        Verb::CommandGetKeys => return get_keys(&args[2..], out),
        _ => unreachable!("{verb:?} is not of COMMAND"),
    }
    Plan::Done
}

/// The command `get`, or the subcommand `client|id`.
fn named(name: &[u8]) -> Option<&'static Spec> {
    match name.iter().position(|&byte| byte == b'|') {
        None => spec::find(name),
        Some(at) => spec::find(&name[..at])?.subcommand(&name[at + 1..]),
    }
}

fn describe_all(proto: Proto, out: &mut Vec<u8>) {
    reply::array_header(out, spec::all().len());
    spec::all().iter().for_each(|spec| describe(spec, proto, out));
}

/// All ten fields: some clients die of fewer.
fn describe(spec: &Spec, proto: Proto, out: &mut Vec<u8>) {
    reply::array_header(out, 10);
    reply::bulk(out, spec.full_name.as_bytes());
    reply::integer(out, spec.arity.into());
    words(spec.flags, proto, out);
    for position in [spec.keys.first, spec.keys.last, spec.keys.step] {
        reply::integer(out, position.into());
    }
    let categories = [spec.categories, derived_categories(spec.flags)].join(" ");
    words(&categories, proto, out);
    reply::set_header(out, spec.tips.split_whitespace().count(), proto);
    spec.tips.split_whitespace().for_each(|tip| reply::bulk(out, tip.as_bytes()));
    key_specs(spec, proto, out);
    reply::set_header(out, spec.subcommands.len(), proto);
    spec.subcommands.iter().for_each(|sub| describe(sub, proto, out));
}

/// The categories that follow from flags.
fn derived_categories(flags: &str) -> &'static str {
    let has = |flag: &str| flags.split_whitespace().any(|has| has == flag);
    match (has("admin"), has("write"), has("readonly"), has("fast")) {
        (true, ..) => "@admin @slow @dangerous",
        (_, true, _, true) => "@write @fast",
        (_, true, _, false) => "@write @slow",
        (_, _, true, true) => "@read @fast",
        (_, _, true, false) => "@read @slow",
        (.., true) => "@fast",
        (.., false) => "@slow",
    }
}

fn words(words: &str, proto: Proto, out: &mut Vec<u8>) {
    reply::set_header(out, words.split_whitespace().count(), proto);
    for word in words.split_whitespace() {
        reply::simple(out, word);
    }
}

fn key_specs(spec: &Spec, proto: Proto, out: &mut Vec<u8>) {
    let Keys { first, last, step } = spec.keys;
    if first == 0 {
        return reply::set_header(out, 0, proto);
    }
    reply::set_header(out, 1, proto);
    reply::map_header(out, 3, proto);
    reply::bulk(out, b"flags");
    words(spec.key_flags, proto, out);
    let last_of_range = if last < 0 { last } else { last - first };
    let search: &[(&str, i8)] = &[("index", first)];
    let find: &[(&str, i8)] = &[("lastkey", last_of_range), ("keystep", step), ("limit", 0)];
    for (field, kind, numbers) in [("begin_search", "index", search), ("find_keys", "range", find)] {
        reply::bulk(out, field.as_bytes());
        reply::map_header(out, 2, proto);
        reply::bulk(out, b"type");
        reply::bulk(out, kind.as_bytes());
        reply::bulk(out, b"spec");
        reply::map_header(out, numbers.len(), proto);
        for &(name, number) in numbers {
            reply::bulk(out, name.as_bytes());
            reply::integer(out, number.into());
        }
    }
}

fn docs(names: &[&[u8]], proto: Proto, out: &mut Vec<u8>) {
    let found: Vec<&Spec> = match names {
        [] => spec::all().iter().collect(),
        names => names.iter().filter_map(|name| named(name)).collect(),
    };
    reply::map_header(out, found.len(), proto);
    found.iter().for_each(|spec| document(spec, proto, out));
}

fn document(spec: &Spec, proto: Proto, out: &mut Vec<u8>) {
    reply::bulk(out, spec.full_name.as_bytes());
    let fields = [("summary", spec.summary), ("since", spec.since), ("group", spec.group)];
    let known = fields.iter().filter(|(_, text)| !text.is_empty());
    reply::map_header(out, known.clone().count() + usize::from(!spec.subcommands.is_empty()), proto);
    for (field, text) in known {
        reply::bulk(out, field.as_bytes());
        reply::bulk(out, text.as_bytes());
    }
    if !spec.subcommands.is_empty() {
        reply::bulk(out, b"subcommands");
        reply::map_header(out, spec.subcommands.len(), proto);
        spec.subcommands.iter().for_each(|sub| document(sub, proto, out));
    }
}

fn list<'a>(args: &[&[u8]], out: &mut Vec<u8>) -> Plan<'a> {
    let wanted: Box<dyn Fn(&Spec) -> bool> = match *args {
        [] => Box::new(|_| true),
        [filter, by, what] if filter.eq_ignore_ascii_case(b"FILTERBY") => {
            let what = what.to_ascii_lowercase();
            match &*by.to_ascii_lowercase() {
                b"pattern" => Box::new(move |spec| glob::matches(&what, spec.name.as_bytes())),
                b"aclcat" => Box::new(move |spec| {
                    let mut all = spec
                        .categories
                        .split_whitespace()
                        .chain(derived_categories(spec.flags).split_whitespace());
                    all.any(|category| category.as_bytes()[1..] == *what)
                }),
                b"module" => Box::new(|_| false),
                _ => return syntax_error(out),
            }
        }
        _ => return syntax_error(out),
    };
    let found: Vec<&Spec> = spec::all().iter().filter(|spec| wanted(spec)).collect();
    reply::array_header(out, found.len());
    found.iter().for_each(|spec| reply::bulk(out, spec.name.as_bytes()));
    Plan::Done
}

fn get_keys<'a>(command: &'a [&'a [u8]], out: &mut Vec<u8>) -> Plan<'a> {
    let Some(spec) = spec::find(command[0]) else {
        return refuse(out, format_args!("ERR Invalid command specified"));
    };
    if spec.keys.first == 0 {
        return refuse(out, format_args!("ERR The command has no key arguments"));
    }
    if !spec.takes(command.len()) {
        return refuse(out, format_args!("ERR Invalid number of arguments specified for command"));
    }
    reply::array_header(out, spec.keys.of(command).count());
    spec.keys.of(command).for_each(|key| reply::bulk(out, key));
    Plan::Done
}

/// The HELP of a command with subcommands.
pub(super) fn help<'a>(context: Context<'a, '_>, out: &mut Vec<u8>) -> Plan<'a> {
    let container = spec::find(context.args[0]).expect("HELP was found as one of its subcommands");
    let upper = container.name.to_ascii_uppercase();
    reply::array_header(out, 1 + 2 * container.subcommands.len());
    reply::simple(out, &format!("{upper} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for sub in container.subcommands {
        reply::simple(out, &sub.name.to_ascii_uppercase());
        reply::simple(out, &format!("    {}.", sub.summary));
    }
    Plan::Done
}
