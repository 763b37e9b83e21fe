#include "coordinator/server/session_table.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

#include "common/base/file_time.h"
#include "common/base/log.h"

namespace roamstead::server {
namespace {

constexpr std::size_t kListNames = 512;
// Read at once: an entry with many streams has megabytes, and a directory may be full of them.
constexpr std::size_t kListStep = 32;
constexpr std::size_t kMaxProfileName = 1024;  // as the keystore has it
constexpr std::size_t kMaxRootBytes = 3 * 32767;
// Encoded entries of one list reply; well below the frame's limit, as the last entry may go beyond.
constexpr std::size_t kListBytes = 512u << 10;
constexpr std::size_t kKeysBytes = 256u << 10;  // the same for keys
constexpr std::size_t kMaxCursorBytes = 512u << 10;
constexpr std::chrono::minutes kKeepEndedSessions{10};

// All 128 bits random: a version-4 GUID would fix six of them.
Guid random_128_bits() {
  Guid value;
  fill_random(value.bytes);
  return value;
}

std::string describe_holder(const SessionRow& row, double lease_seconds) {
  return "profile '" + row.profile_name + "' is open on desktop '" + row.desktop + "' (session " +
         row.id.to_string() + "); its lease ends in " + std::to_string(static_cast<long>(lease_seconds) + 1) +
         " s unless renewed";
}

}  // namespace

SessionTable::Digest SessionTable::digest_of(const Guid& secret) {
  Digest digest(SHA256_DIGEST_LENGTH);
  SHA256(reinterpret_cast<const unsigned char*>(secret.bytes.data()), secret.bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

Result<std::unique_ptr<SessionTable>> SessionTable::create(StateStore& store,
                                                           repository::Repository& repository,
                                                           SessionOptions options, Faults faults) {
  std::unique_ptr<SessionTable> table(
      new SessionTable(store, repository, std::move(options), std::move(faults)));
  RS_TRY(auto rows, store.sessions(true));
  for (const auto& row : rows) {
    auto session = table->remember(row);
    // One profile that cannot be read must not keep the others out.
    if (!session)
      log_error("session {} of '{}' cannot be restored: {}", row.id.to_string(), row.profile_name,
                session.error().to_string());
    else
      log_info("session {} of '{}' on '{}' goes on", row.id.to_string(), row.profile_name, row.desktop);
  }
  return table;
}

Result<std::shared_ptr<Session>> SessionTable::remember(const SessionRow& row) {
  RS_TRY_CTX(auto session, "session " + row.id.to_string(), restore_session(row, store_, repository_));
  session->lease_until = options_.now() + options_.lease;
  std::lock_guard guard(mutex_);
  auto [it, added] = by_digest_.emplace(row.secret_digest, session);
  if (added && row.state == SessionState::active) holders_[row.profile] = session;
  return it->second;
}

SessionState SessionTable::state_of(const Session& session) {
  std::lock_guard guard(mutex_);
  return session.row.state;
}

// The secret is looked up by its digest, so the time the search takes says nothing about secrets near to it;
// the digest found is then compared in constant time.
Result<std::shared_ptr<Session>> SessionTable::authorise(const std::string& desktop, const Guid& secret) {
  auto digest = digest_of(secret);
  std::shared_ptr<Session> session;
  {
    std::lock_guard guard(mutex_);
    if (auto it = by_digest_.find(digest); it != by_digest_.end()) session = it->second;
  }
  if (!session) {
    RS_TRY(auto row, store_.find_session_by_digest(digest));
    if (!row) return fail(ErrorCode::denied, "no such session");
    RS_TRY(session, remember(*row));
  }
  if (CRYPTO_memcmp(session->row.secret_digest.data(), digest.data(), digest.size()) != 0)
    return fail(ErrorCode::denied, "no such session");
  if (session->row.desktop != desktop) {
    log_warning("desktop '{}' used the secret of session {}, which belongs to desktop '{}': denied", desktop,
                session->row.id.to_string(), session->row.desktop);
    return fail(ErrorCode::denied, "no such session");
  }
  std::lock_guard guard(mutex_);
  if (session->row.state == SessionState::active) session->lease_until = options_.now() + options_.lease;
  return session;
}

Result<std::shared_ptr<Session>> SessionTable::authorise_active(const std::string& desktop,
                                                                const Guid& secret) {
  RS_TRY(auto session, authorise(desktop, secret));
  RS_CHECK(check_active(*session));
  return session;
}

Result<void> SessionTable::check_active(const Session& session) {
  switch (state_of(session)) {
    case SessionState::active:
      return {};
    case SessionState::closed:
      return fail(ErrorCode::denied, "the session is closed");
    case SessionState::superseded:
      break;
  }
  return fail(ErrorCode::stale,
              "the session is superseded: profile '" + session.row.profile_name + "' was handed over");
}

Result<std::shared_ptr<const repository::Tree>> SessionTable::tree_of(Session& session) {
  {
    std::lock_guard guard(mutex_);
    if (session.tree) return session.tree;
  }
  RS_TRY(auto tree, repository_.tree(session.row.profile, session.row.version));
  std::lock_guard guard(mutex_);
  if (!session.tree) session.tree = std::move(tree);
  return session.tree;
}

Result<wire::DirectoryPart> SessionTable::list(const std::string& desktop, const wire::ListRequest& request) {
  RS_TRY(auto session, authorise_active(desktop, request.session_secret));
  RS_TRY(auto tree, tree_of(*session));
  wire::DirectoryPart part;
  part.more = true;
  auto after = request.after;
  for (std::size_t bytes = 0; part.entries.size() < kListNames;) {
    RS_TRY(auto entries, tree->list(request.path, after, kListStep));
    for (auto& entry : entries) {
      bytes += wire::encode_message(entry).size();
      if (bytes > kListBytes && !part.entries.empty()) return part;
      after = entry.name;
      part.entries.push_back(std::move(entry));
    }
    part.more = entries.size() == kListStep;
    if (!part.more) return part;
  }
  return part;
}

Result<Bytes> SessionTable::read(const std::string& desktop, const wire::ReadRequest& request) {
  RS_TRY(auto session, authorise_active(desktop, request.session_secret));
  if (request.length > wire::kMaxReadBytes)
    return fail(ErrorCode::protocol, "a read of " + std::to_string(request.length) + " bytes, at most " +
                                         std::to_string(wire::kMaxReadBytes) + " are allowed");
  RS_TRY(auto tree, tree_of(*session));
  RS_TRY(auto entry, tree->lookup(request.path));
  auto size = entry.size_bytes;
  if (!request.stream.empty()) {
    auto found = std::find_if(entry.streams.begin(), entry.streams.end(),
                              [&](const profile::Stream& stream) { return stream.name == request.stream; });
    if (found == entry.streams.end())
      return fail(ErrorCode::not_found,
                  "'" + request.path.text() + "' has no stream '" + request.stream + "'");
    size = found->size_bytes;
  }
  if (request.offset >= size) return Bytes();
  Bytes content(static_cast<std::size_t>(std::min<std::uint64_t>(request.length, size - request.offset)));
  RS_CHECK(tree->read(request.path, request.stream, request.offset, content));
  return content;
}

Result<profile::KeyStates> SessionTable::keys(const std::string& desktop, const wire::KeysRequest& request) {
  RS_TRY(auto session, authorise_active(desktop, request.session_secret));
  if (request.scope > static_cast<std::uint8_t>(profile::KeyScope::subtree_if_small))
    return fail(ErrorCode::protocol, "keys: unknown scope " + std::to_string(request.scope));
  if (request.cursor.size() > kMaxCursorBytes)
    return fail(ErrorCode::protocol,
                "keys: a cursor of " + std::to_string(request.cursor.size()) + " bytes, none was given out");
  RS_TRY(auto tree, tree_of(*session));
  RS_TRY(auto part, tree->keys(request.hive, request.key, static_cast<profile::KeyScope>(request.scope),
                               request.cursor, kKeysBytes));
  // One key alone may have more values than a frame has room for: their data is asked for one by one then.
  for (auto& key : part.keys) {
    std::size_t bytes = 0;
    for (const auto& value : key.values) bytes += value.data.size();
    if (bytes <= kKeysBytes) continue;
    for (auto& value : key.values) value.data = {};
  }
  return part;
}

Result<Bytes> SessionTable::read_value(const std::string& desktop, const wire::ValueRequest& request) {
  RS_TRY(auto session, authorise_active(desktop, request.session_secret));
  if (request.length > wire::kMaxReadBytes)
    return fail(ErrorCode::protocol, "a read of " + std::to_string(request.length) +
                                         " bytes of a value, at most " + std::to_string(wire::kMaxReadBytes) +
                                         " are allowed");
  RS_TRY(auto tree, tree_of(*session));
  Bytes content(request.length);
  RS_CHECK(tree->read_value(request.hive, request.key, request.value, request.offset, content));
  return content;
}

Result<void> SessionTable::renew(const std::string& desktop, const Guid& secret) {
  RS_TRY(auto session, authorise_active(desktop, secret));
  return {};
}

std::shared_ptr<Session> SessionTable::holder_of(const repository::ProfileId& profile) {
  std::lock_guard guard(mutex_);
  auto it = holders_.find(profile);
  return it == holders_.end() ? nullptr : it->second;
}

Result<std::unique_lock<std::timed_mutex>> SessionTable::lock_for_hand_over(Session& session) {
  std::unique_lock lock(session.commit_mutex, std::defer_lock);
  // By the system's clock: ThreadSanitizer does not know the lock by the steady one (pthread_mutex_clocklock)
  // and sees an unlock too many. A clock set meanwhile only makes the wait shorter or longer.
  if (!lock.try_lock_until(std::chrono::system_clock::now() + options_.hand_over_wait))
    return fail(ErrorCode::busy,
                "a batch of session " + session.row.id.to_string() + " is just being committed; try again");
  return lock;
}

Result<void> SessionTable::end(Session& session, SessionState state) {
  auto now = now_100ns();
  RS_CHECK(store_.end_session(session.row.id, state, now));
  std::lock_guard guard(mutex_);
  session.row.state = state;
  session.row.ended_100ns = now;
  session.tree.reset();
  auto it = holders_.find(session.row.profile);
  if (it != holders_.end() && it->second.get() == &session) holders_.erase(it);
  return {};
}

Result<void> SessionTable::close(const std::string& desktop, const Guid& secret) {
  RS_TRY(auto session, authorise(desktop, secret));
  RS_TRY(auto lock, lock_for_hand_over(*session));
  if (state_of(*session) != SessionState::active) return {};
  RS_CHECK(end(*session, SessionState::closed));
  log_info("session {} of '{}' on '{}' closed", session->row.id.to_string(), session->row.profile_name,
           desktop);
  return {};
}

Result<wire::OpenReply> SessionTable::open(const std::string& desktop, const wire::OpenRequest& request) {
  if (request.profile.size() > kMaxProfileName || request.profile_root.size() > kMaxRootBytes)
    return fail(ErrorCode::protocol, "open: too long a name or root of a profile");
  auto profile = repository_.find_profile(request.profile);
  if (!profile && profile.error().code != ErrorCode::not_found) return fail(std::move(profile).error());
  bool assigned = false;
  if (profile) {
    RS_TRY(assigned, store_.is_assigned(desktop, profile->id));
  }
  if (!assigned) {  // the same answer whether or not there is such a profile
    log_warning("desktop '{}' asked for profile '{}', which is not assigned to it: denied", desktop,
                request.profile);
    return fail(ErrorCode::denied,
                "profile '" + request.profile + "' is not assigned to desktop '" + desktop + "'");
  }
  forget_old_sessions();
  if (request.resume) return resume(desktop, *request.resume);
  return open_fresh(desktop, request, *profile);
}

Result<std::uint64_t> SessionTable::next_epoch(const repository::ProfileId& profile) {
  RS_TRY(auto epoch, store_.epoch(profile));
  // The repository remembers epochs too: a state directory that was lost must not make them start again.
  RS_TRY(auto versions, repository_.versions(profile));
  for (const auto& version : versions) epoch = std::max(epoch, version.epoch);
  return epoch + 1;
}

Result<wire::OpenReply> SessionTable::open_fresh(const std::string& desktop, const wire::OpenRequest& request,
                                                 const repository::ProfileInfo& profile) {
  for (;;) {
    auto holder = holder_of(profile.id);
    std::unique_lock<std::timed_mutex> lock;
    if (holder) {
      double left = 0;
      {
        std::lock_guard guard(mutex_);
        left = std::chrono::duration<double>(holder->lease_until - options_.now()).count();
      }
      // A desktop that opens what it has open itself has lost its state: it need not wait for itself.
      if (left > 0 && holder->row.desktop != desktop)
        return fail(ErrorCode::busy, describe_holder(holder->row, left));
      RS_TRY(lock, lock_for_hand_over(*holder));
    }
    // Only now, so that nobody who opens another profile waits for this one's holder.
    std::lock_guard guard(open_mutex_);
    if (holder_of(profile.id) == holder) return begin_session(desktop, request, profile, holder);
  }
}

// open_mutex_ and the holder's commit_mutex are held.
Result<wire::OpenReply> SessionTable::begin_session(const std::string& desktop,
                                                    const wire::OpenRequest& request,
                                                    const repository::ProfileInfo& profile,
                                                    const std::shared_ptr<Session>& holder) {
  auto secret = random_128_bits();
  auto session = std::make_shared<Session>();
  // Looked up again: the previous holder may have moved the head until its lock was taken.
  RS_TRY(auto fresh, repository_.find_profile(request.profile));
  RS_TRY(auto epoch, next_epoch(profile.id));
  session->row = {Guid::random(),       digest_of(secret),    desktop, profile.id,
                  profile.name,         request.profile_root, epoch,   fresh.head,
                  SessionState::active, now_100ns(),          0};
  IncarnationRow first{random_128_bits(), 1, fresh.head, 0, {}};
  session->incarnations.push_back({first, {}, {}});
  RS_CHECK(store_.begin_session(session->row, first, holder ? std::optional(holder->row.id) : std::nullopt));
  {
    std::lock_guard guard(mutex_);
    if (holder) {
      holder->row.state = SessionState::superseded;
      holder->row.ended_100ns = session->row.opened_100ns;
      holder->tree.reset();
    }
    session->lease_until = options_.now() + options_.lease;
    by_digest_[session->row.secret_digest] = session;
    holders_[profile.id] = session;
  }
  if (holder)
    log_info("profile '{}' handed over from desktop '{}' to '{}', epoch {}", profile.name,
             holder->row.desktop, desktop, epoch);
  log_info("session {}: desktop '{}' opened '{}' at version {}", session->row.id.to_string(), desktop,
           profile.name, fresh.head);
  return reply_for(*session, secret);
}

// A desktop may come back with the incarnation it was given last, or, when it never learnt of that one, the
// one before. Anything else, and anything that knows of fewer batches than are durable, is a state from the
// past.
Result<wire::OpenReply> SessionTable::resume(const std::string& desktop, const wire::ResumeInfo& resume) {
  RS_TRY(auto session, authorise_active(desktop, resume.session_secret));
  RS_TRY(auto lock, lock_for_hand_over(*session));
  RS_CHECK(check_active(*session));  // it may have ended while this waited
  auto& known = session->incarnations;
  auto position = static_cast<std::size_t>(
      std::find_if(known.begin(), known.end(),
                   [&](const Incarnation& each) { return each.row.incarnation == resume.incarnation; }) -
      known.begin());
  bool later_unused =
      std::all_of(known.begin() + static_cast<std::ptrdiff_t>(std::min(position + 1, known.size())),
                  known.end(), [](const Incarnation& later) { return later.last_ordinal() == 0; });
  if (position == known.size() || !later_unused || resume.highest_ordinal < known[position].last_ordinal()) {
    RS_CHECK(end(*session, SessionState::superseded));
    log_warning("session {}: desktop '{}' came back in an earlier state (a reverted machine?): superseded",
                session->row.id.to_string(), desktop);
    return fail(ErrorCode::stale,
                "the desktop is in an earlier state than its last saved batch; its session is superseded");
  }
  auto committed = known[position].last_ordinal();
  auto base = known[position].tip();
  bool base_forked = known[position].forked();
  IncarnationRow fresh{random_128_bits(), known.back().row.sequence + 1, base, 0, {}};
  RS_CHECK(store_.add_incarnation(session->row.id, fresh));
  known.push_back({fresh, {}, {}});
  log_info("session {}: desktop '{}' resumed after batch {}{}", session->row.id.to_string(), desktop,
           committed, base_forked ? " on a fork" : "");
  RS_TRY(auto reply, reply_for(*session, resume.session_secret));
  reply.committed_ordinal = committed;
  return reply;
}

Result<wire::OpenReply> SessionTable::reply_for(Session& session, const Guid& secret) {
  RS_TRY(auto tree, tree_of(session));
  wire::OpenReply reply;
  reply.session = session.row.id;
  reply.session_secret = secret;
  reply.incarnation = session.current().row.incarnation;
  reply.epoch = session.row.epoch;
  reply.version = session.row.version;
  RS_TRY(reply.root, tree->lookup({}));
  reply.lease_seconds = static_cast<std::uint32_t>(options_.lease.count());
  return reply;
}

void SessionTable::forget_old_sessions() {
  std::lock_guard guard(mutex_);
  auto before = options_.now() - kKeepEndedSessions;
  for (auto it = by_digest_.begin(); it != by_digest_.end();) {
    // Those still needed are restored from the store. The count tells that no call holds this one just now.
    bool old = it->second->row.state != SessionState::active && it->second->lease_until < before &&
               it->second.use_count() == 1;
    it = old ? by_digest_.erase(it) : std::next(it);
  }
}

}  // namespace roamstead::server
