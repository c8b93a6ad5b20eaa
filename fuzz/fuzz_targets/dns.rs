//! What name servers answer.
#![no_main]

use rumpnet_dns::{
    Name,
    message::{Answer, Kind, Question},
};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // The question is the one that the answer says it answers, so that it is read to its end.
    let Some((name, _)) = Name::read(input, 12) else {
        return;
    };
    // What was read can be written, and is the same then.
    let mut wire = Vec::new();
    name.write(&mut wire);
    assert_eq!(Name::read(&wire, 0), Some((name.clone(), wire.len())));
    let id = u16::from_be_bytes([input[0], input[1]]);
    for kind in [Kind::A, Kind::Aaaa] {
        let question = Question {
            name: name.clone(),
            kind,
        };
        if let Some(answer) = Answer::read(input, id, &question) {
            assert!(
                answer
                    .addresses
                    .iter()
                    .all(|ip| ip.is_ipv4() == (kind == Kind::A))
            );
            assert!(answer.addresses.is_empty() || answer.alias.is_none());
        }
    }
});
