//! Exit statuses, and readers that go away.

use super::*;

fn code(outcome: Outcome) -> String {
    format!("{:?}", exit(outcome))
}

#[test]
fn the_exit_status_is_0_for_done_1_for_no_and_2_for_bad_use() {
    let numbers = |n: u8| format!("{:?}", ExitCode::from(n));
    assert_eq!(code(Ok(Verdict::Yes)), numbers(0));
    assert_eq!(code(Ok(Verdict::No)), numbers(1));
    assert_eq!(code(Err(anyhow::anyhow!("failed"))), numbers(1));
    let no_agent = ClientError::NoAgent { socket: "/run/weir/agent.sock".into() };
    assert_eq!(code(Err(no_agent.into())), numbers(1));
    assert_eq!(code(Err(ClientError::BadUse("verdict=x".into()).into())), numbers(2));
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let broken = io::Error::from(io::ErrorKind::BrokenPipe);
    assert_eq!(code(Err(broken.into())), format!("{:?}", ExitCode::SUCCESS));
}
