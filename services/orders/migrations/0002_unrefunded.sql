-- For the alarm about money that is not back: few checkouts are there at a time, and only those are in it.
create index checkouts_unrefunded on checkouts (since) where stage = 'refund_pending';
