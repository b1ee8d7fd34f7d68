//! The list of all examples.

use core::pin::Pin;

use super::{
    ageing, budgets, catalogs, clocks, health, leasing, publishing, rates, reading, settling,
    sharing,
};
use crate::port::Store;

type Playing<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// An example: plays on an empty store and panics if it does not go as promised.
pub(super) struct Case {
    pub(super) play: for<'a> fn(&'a dyn Store) -> Playing<'a>,
}

macro_rules! cases {
    ($($module:ident :: { $($name:ident),* $(,)? }),* $(,)?) => {
        vec![$($(Case { play: |store| Box::pin($module::$name(store)) }),*),*]
    };
}

/// All of them.
pub(super) fn all() -> Vec<Case> {
    let mut cases = cases![
        publishing::{
            goes_to_its_targets,
            stale_catalog_accepts_nothing_of_that_tenant,
            keys_are_remembered_for_a_day,
            keys_of_one_call_meet,
            keys_of_tenants_are_apart,
            paused_enqueues_nothing,
            calls_that_break_a_rule_change_nothing,
            repeats_answer_the_same,
            lower_sequences_are_superseded,
        },
        leasing::{
            first_come_first_lent,
            windows_hold,
            windows_change,
            quiet_tenants_do_not_wait,
            quiet_subscriptions_do_not_wait,
            one_call_lends_a_bounded_number,
            pools_are_apart,
            lost_leases_are_counted,
            renewed_leases_last,
            released_leases_change_nothing,
            paused_lends_nothing,
            repeated_claims_lend_once,
        },
        clocks::{
            leases_from_ahead_are_over,
            retries_from_ahead_are_due,
            a_jump_and_the_way_back_lose_nothing,
            no_lease_is_longer_than_any,
        },
        sharing::{
            shares_hold,
            who_is_passed_over_keeps_their_turn,
            very_many_are_passed_over,
            shares_do_not_lengthen_a_visit,
            shares_that_break_a_rule_are_refused,
        },
        settling::{
            stale_tokens_are_ignored,
            settled_positions_are_stale,
            retries_wait_until_they_are_due,
            released_deliveries_return_to_the_head,
            repeated_settles_settle_once,
            deleting_ends_what_is_queued,
            redelivery_is_a_delivery_of_its_own,
            redelivery_needs_its_event_and_subscription,
        },
        catalogs::{
            versions_guard_writes,
            repeated_writes_answer_the_same,
            numbers_are_never_used_again,
            a_tenants_own_bound_holds,
            a_change_that_looked_at_all_is_overtaken_by_any,
            catalogs_are_bounded,
        },
        reading::{
            segments_and_outcomes_read_back,
            logs_page_from_the_newest,
            registry_keeps_records,
            a_registry_record_is_claimed_once,
            hints_tell_what_happened,
        },
    ];
    cases.extend(bounded());
    cases
}

/// Those about what a store keeps no longer, or takes no more of.
fn bounded() -> Vec<Case> {
    cases![
        rates::{
            a_bucket_grants_what_it_has,
            buckets_are_apart,
            clocks_that_jump_bring_a_burst_at_most,
            a_new_limit_holds_at_once,
            never_more_than_came_is_granted,
        },
        budgets::{
            a_used_up_budget_refuses_only_its_tenant,
            ended_deliveries_make_room,
            a_charge_is_a_part_of_its_segment,
            redelivering_charges_anew,
            deleting_discharges,
            known_events_are_told_all_the_same,
            the_oldest_finished_leave_a_full_log,
            the_unfinished_stay_in_a_full_log,
            both_budgets_together_are_a_bound,
        },
        health::{
            attempts_that_count_are_counted,
            stale_and_repeated_outcomes_do_not_count,
            buckets_follow_the_stores_clock,
            the_newest_notes_are_kept,
            health_goes_with_its_subscription,
            marks_that_break_a_rule_are_refused,
        },
        ageing::{
            old_events_leave,
            unfinished_deliveries_keep_their_event,
        },
    ]
}
