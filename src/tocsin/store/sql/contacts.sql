-- How people are reached: contact methods and notification rules.

-- name: reach
-- Everything that it takes to page these people, one row for each who exists.
SELECT u.id, u.name, u.role, u.active,
       coalesce((
           SELECT json_agg(json_build_object('id', c.id, 'channel', c.channel, 'address', c.address,
                                             'verified_at', c.verified_at) ORDER BY c.created_at, c.id)
           FROM contact_methods c WHERE c.user_id = u.id), '[]') AS methods,
       coalesce((
           SELECT json_agg(json_build_object('after_seconds', r.after_seconds, 'contact_method_id', r.contact_method_id)
                           ORDER BY r.after_seconds, r.created_at, r.id)
           FROM notification_rules r WHERE r.user_id = u.id), '[]') AS rules
FROM users u WHERE u.id = ANY (%(user_ids)s)
