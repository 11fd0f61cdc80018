//! `weir policy audit` as a person reads it.
//!
//! Entry point: [`render`].

use super::{
    flow_table::policy_name,
    table::{Column, Style, Table},
};
use crate::{admin::AuditRow, flows::audit::AuditPeer};

/// One line for each policy, source and destination.
pub(super) fn render(rows: &[AuditRow], style: Style) -> String {
    if rows.is_empty() {
        return "no audit policy would have denied anything\n".into();
    }
    let mut table = Table::new([
        Column::number("COUNT"),
        Column::elastic("POLICY", 20),
        Column::elastic("SOURCE", 20),
        Column::elastic("DESTINATION", 20),
        Column::fixed("LAST (UTC)"),
    ]);
    for row in rows {
        let last = row.last.get(..19).unwrap_or("-").replace('T', " ");
        table.text_row([
            row.count.to_string(),
            policy_name(&row.policy),
            name(&row.source),
            format!("{}:{}", name(&row.destination), row.port),
            last,
        ]);
    }
    table.render(style)
}

fn name(peer: &AuditPeer) -> String {
    match (&*peer.namespace, &*peer.workload) {
        ("", "") if peer.identity.is_empty() => "unknown".into(),
        ("", "") => peer.identity.to_string(),
        (namespace, workload) => format!("{namespace}/{workload}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::record::samples;

    const PLAIN: Style = Style { colour: false, width: 120 };

    #[test]
    fn rows_are_counted_by_policy_and_source() {
        let peer = |workload: &str| AuditPeer {
            namespace: "shop".into(),
            workload: workload.into(),
            identity: "".into(),
        };
        let row = AuditRow {
            policy: samples::full().audit.expect("a policy"),
            source: peer("cart"),
            destination: peer("pay"),
            port: 8080,
            count: 42,
            first: String::new(),
            last: "2026-01-02T03:04:05.678901Z".into(),
        };
        let stranger =
            AuditRow { source: AuditPeer::default(), count: 1, last: String::new(), ..row.clone() };
        assert_eq!(
            render(&[row, stranger], PLAIN),
            "COUNT  POLICY             SOURCE     DESTINATION    LAST (UTC)\n   \
                42  shop/pay-audit[1]  shop/cart  shop/pay:8080  2026-01-02 03:04:05\n    \
                 1  shop/pay-audit[1]  unknown    shop/pay:8080  -\n"
        );
        assert!(render(&[], PLAIN).contains("no audit policy"));
    }
}
