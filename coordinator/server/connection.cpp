#include "coordinator/server/connection.h"

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>

#include "common/base/event.h"
#include "common/wire/tls.h"
#include "coordinator/audit/audit_log.h"
#include "coordinator/server/run_on.h"

namespace roamstead::server {
namespace {

using wire::Frame;
using wire::FrameType;

constexpr std::size_t kMaxSoftwareName = 200;
constexpr std::size_t kLeastPartBytes = 4096;
constexpr std::size_t kAnswerBytes = wire::kMaxReadBytes;  // counted for an answer until it is made

asio::awaitable<void> wait_for(asio::steady_timer& condition) {
  asio::error_code ignored;
  co_await condition.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

}  // namespace

// Rung on any thread; the coroutine that waits is woken on its own, while it is there.
struct Connection::Bell {
  explicit Bell(asio::any_io_executor executor_of_io)
      : executor(std::move(executor_of_io)), timer(executor) {}

  static void ring(const std::shared_ptr<Bell>& bell) {
    std::lock_guard lock(bell->mutex);
    if (bell->gone) return;  // and with it, perhaps, the io thread
    asio::post(bell->executor, [bell] {
      bell->rung = true;
      bell->timer.cancel();
    });
  }

  asio::any_io_executor executor;
  asio::steady_timer timer;  // of the io thread, as is `rung`
  bool rung = false;
  std::mutex mutex;  // guards `gone`
  bool gone = false;
};

Connection::Connection(std::shared_ptr<wire::Channel> channel, ConnectionContext context, std::string desktop,
                       std::shared_ptr<DesktopShare> share)
    : channel_(std::move(channel)),
      context_(context),
      changed_(channel_->executor(), asio::steady_timer::time_point::max()),
      desktop_(std::move(desktop)),
      share_(std::move(share)) {}

void Connection::wake() { changed_.cancel(); }

void Connection::push(const wire::Push& push) {
  if (!greeted_ && push.kind == wire::PushKind::settings) settings_push_ = push;
  if (greeted_) channel_->send(wire::encode_frame(FrameType::push, 0, wire::encode_message(push)));
}

asio::awaitable<void> Connection::run() {
  auto self = shared_from_this();
  greeted_ = co_await greet();
  if (greeted_) {
    if (settings_push_) push(*settings_push_);
    context_.presence.arrive(desktop_);
    co_await converse();
    context_.presence.leave(desktop_);
  }
  abandon_uploads();
  if (!channel_->closed()) channel_->close_when_sent();
  for (const auto& bell : bells_) bell->timer.cancel();
}

// Batches that were arriving are dropped: the desktop sends them again.
void Connection::abandon_uploads() {
  for (auto& [id, upload] : uploads_) {
    upload->abandoned = true;
    upload->arrived.cancel();
  }
}

asio::awaitable<void> Connection::finish() {
  auto self = shared_from_this();
  finishing_ = true;
  abandon_uploads();
  for (const auto& bell : bells_) bell->timer.cancel();
  while ((requests_ > 0 || takings_ > 0) && !channel_->closed()) co_await wait_for(changed_);
  channel_->close_when_sent();
}

asio::awaitable<void> Connection::converse() {
  while (!channel_->closed()) {
    // Among so many uploads some are abandoned, and end without anything being read.
    while ((requests_ >= kMaxRequests || takings_ >= 2 * kMaxUploads) && !channel_->closed())
      co_await wait_for(changed_);
    co_await channel_->drained(kMaxUnsentBytes);
    co_await context_.flight.admit(share_->flight, [this] { return channel_->closed(); });
    auto frame = co_await channel_->read();
    if (!frame) {
      if (frame.error().code == ErrorCode::protocol) {
        log_event(Event::protocol_broken, "desktop '{}': {}", desktop_, frame.error().to_string());
        channel_->send(failure_frame(0, frame.error()));
        channel_->close_when_sent();
      }
      break;
    }
    // Parts of batches are held back by their window.
    if (frame->type != FrameType::batch_part) co_await pace();
    auto taken = dispatch(std::move(*frame));
    if (!taken) {
      log_event(Event::protocol_broken, "desktop '{}' at {}: {}", desktop_, channel_->remote(),
                taken.error().to_string());
      channel_->send(failure_frame(0, taken.error()));
      channel_->close_when_sent();
      break;
    }
  }
}

// Nothing is refused: who asks too much is read more slowly, and so learns to wait.
asio::awaitable<void> Connection::pace() {
  auto wait = share_->requests.take_and_wait(TokenBucket::Clock::now());
  if (wait <= TokenBucket::Clock::duration::zero()) co_return;
  asio::steady_timer due(channel_->executor(), wait);
  co_await wait_for(due);
}

asio::awaitable<bool> Connection::greet() {
  auto refuse = [this](const Error& error) {
    log_event(Event::desktop_refused, "connection from {}: {}", channel_->remote(), error.to_string());
    if (context_.audit != nullptr)
      context_.audit->append({"desktop.connect",
                              "desktop " + desktop_,
                              "",
                              audit::Outcome::refused,
                              error.to_string(),
                              {{"address", channel_->remote()}}});
    channel_->send(failure_frame(0, error));
    channel_->close_when_sent();
  };
  auto peer = wire::peer_certificate(channel_->ssl());
  if (!peer) {
    refuse(peer.error());
    co_return false;
  }
  serial_ = peer->serial;
  auto check = [&store = context_.store, peer = *peer] {
    return store.check_desktop(peer.common_name, peer.serial);
  };
  auto enrolled = co_await run_on(context_.request_pool, std::move(check));
  if (!enrolled) {
    refuse(enrolled.error());
    co_return false;
  }
  auto frame = co_await channel_->read(wire::kMaxHelloBytes);
  if (!frame) {
    if (frame.error().code == ErrorCode::protocol) refuse(frame.error());
    co_return false;
  }
  auto type = frame->type;
  auto hello = wire::decode_message<wire::Hello>(std::move(*frame), "greeting");
  if (!hello || type != FrameType::hello || hello->magic != wire::kProtocolMagic) {
    refuse(Error(ErrorCode::protocol, "this is not how a desktop greets"));
    co_return false;
  }
  if (hello->version != wire::kProtocolVersion) {
    refuse(Error(ErrorCode::protocol, "protocol version " + std::to_string(hello->version) + " where " +
                                          std::to_string(wire::kProtocolVersion) + " is spoken"));
    co_return false;
  }
  wire::HelloReply reply;
  reply.desktop = desktop_;
  auto ask = [self = shared_from_this()] { return self->context_.settings_of(self->desktop_); };
  reply.settings = co_await run_on(context_.request_pool, std::move(ask));
  channel_->send(wire::encode_frame(FrameType::hello_reply, 0, wire::encode_message(reply)));
  log_info("desktop '{}' connected from {} ({})", desktop_, channel_->remote(),
           hello->software.substr(0, kMaxSoftwareName));
  co_return true;
}

Result<void> Connection::dispatch(Frame frame) {
  if (finishing_) return {};  // the desktop asks again, whoever listens then
  // Counted before the next frame is read, not when a coroutine gets its turn.
  const auto with_answer = frame.payload.size() + kAnswerBytes;
  switch (frame.type) {
    case FrameType::open:
      ++requests_;
      asio::co_spawn(channel_->executor(), serve_open(std::move(frame), charged(with_answer)),
                     asio::detached);
      return {};
    case FrameType::list:
    case FrameType::read:
    case FrameType::fetch:
    case FrameType::keys:
    case FrameType::value:
    case FrameType::renew:
    case FrameType::session_use:
    case FrameType::learned:
    case FrameType::first_boot:
    case FrameType::close:
    case FrameType::hand_over:
    case FrameType::snapshot_offer:
    case FrameType::quiet:
    case FrameType::held:
      ++requests_;
      asio::co_spawn(channel_->executor(), serve(std::move(frame), charged(with_answer)), asio::detached);
      return {};
    case FrameType::renew_certificate:
      ++requests_;
      asio::co_spawn(channel_->executor(), serve_renewal(std::move(frame)), asio::detached);
      return {};
    case FrameType::batch_begin:
      return begin_upload(std::move(frame));
    case FrameType::batch_part:
      return add_part(std::move(frame));
    case FrameType::batch_abandon:
      if (auto it = uploads_.find(frame.request); it != uploads_.end()) {
        it->second->abandoned = true;
        it->second->arrived.cancel();
        uploads_.erase(it);
      }
      return {};
    default:
      return fail(ErrorCode::protocol,
                  "a frame of type " + std::to_string(static_cast<unsigned>(frame.type)) + " from a desktop");
  }
}

Flight::Charge Connection::charged(std::uint64_t bytes) {
  return Flight::Charge(context_.flight, share_->flight, bytes);
}

void Connection::answer(Bytes frame) {
  channel_->send(std::move(frame));
  if (counting_unsent_) {
    unsent_.change(channel_->unsent());
    return;
  }
  counting_unsent_ = true;
  unsent_ = charged(channel_->unsent());
  asio::co_spawn(channel_->executor(), count_unsent(), asio::detached);
}

asio::awaitable<void> Connection::count_unsent() {
  auto self = shared_from_this();
  while (channel_->unsent() != 0) {
    co_await channel_->drained(std::max<std::size_t>(1, channel_->unsent() / 2));
    unsent_.change(channel_->unsent());
  }
  unsent_.change(0);
  counting_unsent_ = false;
}

asio::awaitable<void> Connection::serve(Frame frame, [[maybe_unused]] Flight::Charge charge) {
  auto self = shared_from_this();
  // Closing may wait for a commit under way; reading must not wait behind it.
  bool may_wait = frame.type == FrameType::close || frame.type == FrameType::hand_over;
  const bool freezes = frame.type == FrameType::quiet;
  auto& pool = may_wait ? context_.commit_pool : freezes ? context_.snapshot_pool : context_.request_pool;
  // One at a time: were all its requests to wait in the pool, nobody's batch would be committed.
  while (may_wait && changing_) co_await wait_for(changed_);
  if (may_wait) changing_ = true;
  auto work = [self, frame = std::move(frame)]() mutable {
    return self->context_.handler.answer(self->desktop_, std::move(frame));
  };
  auto reply = co_await run_on(pool, std::move(work));
  answer(std::move(reply));
  if (may_wait) changing_ = false;
  --requests_;
  wake();
}

// However many wait for other desktops to flush, no thread does: else the batches they wait for would find
// none.
asio::awaitable<void> Connection::serve_open(Frame frame, Flight::Charge charge) {
  auto self = shared_from_this();
  const auto request_bytes = frame.payload.size();
  auto bell = std::make_shared<Bell>(channel_->executor());
  bells_.insert(bell);
  auto opening = std::make_shared<RequestHandler::Opening>(std::move(frame), [bell] { Bell::ring(bell); });
  while (!channel_->closed()) {
    while (changing_) co_await wait_for(changed_);
    changing_ = true;
    auto work = [self, opening] { return self->context_.handler.open(self->desktop_, *opening); };
    auto step = co_await run_on(context_.commit_pool, std::move(work));
    changing_ = false;
    wake();
    if (!step.answer.empty()) {
      channel_->send(std::move(step.answer));
      break;
    }
    if (finishing_) break;
    if (!bell->rung && !channel_->closed()) {
      charge.change(request_bytes);  // there is no answer yet: who waits keeps nobody from being read
      bell->timer.expires_after(step.ask_again);
      co_await wait_for(bell->timer);
      charge.change(request_bytes + kAnswerBytes);
    }
    bell->rung = false;
  }
  {
    std::lock_guard lock(bell->mutex);
    bell->gone = true;
  }
  bells_.erase(bell);
  --requests_;
  wake();
}

asio::awaitable<void> Connection::serve_renewal(Frame frame) {
  auto self = shared_from_this();
  while (changing_) co_await wait_for(changed_);  // one at a time: it costs a signature
  changing_ = true;
  auto work = [self, frame = std::move(frame)]() mutable {
    return self->context_.enroller.answer_renew(self->desktop_, self->serial_, std::move(frame));
  };
  auto reply = co_await run_on(context_.request_pool, std::move(work));
  channel_->send(std::move(reply));
  changing_ = false;
  --requests_;
  wake();
}

Result<void> Connection::begin_upload(Frame frame) {
  auto request = frame.request;
  if (uploads_.size() >= kMaxUploads)
    return fail(ErrorCode::protocol, "more than " + std::to_string(kMaxUploads) + " batches at once");
  if (uploads_.count(request) != 0) return fail(ErrorCode::protocol, "two batches with one request id");
  if (frame.payload.size() > wire::kMaxHelloBytes)
    return fail(ErrorCode::protocol, "too long an announcement of a batch");
  RS_TRY(auto begin, wire::decode_message<wire::BatchBegin>(std::move(frame), "announcement of a batch"));
  auto upload = std::make_shared<Upload>(channel_->executor());
  upload->request = request;
  upload->begin = begin;
  uploads_[request] = upload;
  ++takings_;
  asio::co_spawn(channel_->executor(), take_batch(upload), asio::detached);
  return {};
}

Result<void> Connection::add_part(Frame frame) {
  auto it = uploads_.find(frame.request);
  if (it == uploads_.end()) return {};  // already answered; the sender does not know yet
  auto& upload = *it->second;
  // Small parts cost more than their bytes.
  upload.parts_bytes += std::max(frame.payload.size(), kLeastPartBytes);
  // What is under way never exceeds the window, plain; packed it may be a little more, never twice as much.
  if (upload.parts_bytes > 2 * wire::kBatchWindowBytes)
    return fail(ErrorCode::protocol, "a batch sent beyond its window");
  auto charge = charged(std::max(frame.payload.size(), kLeastPartBytes));
  upload.parts.push_back({std::move(frame), std::move(charge)});
  upload.arrived.cancel();
  return {};
}

asio::awaitable<bool> Connection::receive(std::shared_ptr<Upload> upload, Spool& spool) {
  while (spool.size() < spool.expected_bytes()) {
    while (upload->parts.empty() && !upload->abandoned) co_await wait_for(upload->arrived);
    if (upload->abandoned) co_return false;
    std::vector<Frame> parts;
    std::vector<Flight::Charge> charges;  // until they are in the spool
    for (auto& part : upload->parts) {
      parts.push_back(std::move(part.frame));
      charges.push_back(std::move(part.charge));
    }
    upload->parts.clear();
    upload->parts_bytes = 0;
    auto work = [self = shared_from_this(), upload, &spool, parts = std::move(parts)]() mutable {
      return self->context_.handler.take(self->desktop_, upload->begin, spool, std::move(parts));
    };
    auto taken = co_await run_on(context_.request_pool, std::move(work));
    if (!taken) {
      channel_->send(failure_frame(upload->request, taken.error()));
      co_return false;
    }
    wire::Credit credit{*taken};
    channel_->send(wire::encode_frame(FrameType::credit, upload->request, wire::encode_message(credit)));
  }
  co_return !upload->abandoned;
}

// The spool lives in this coroutine: however it ends, what had arrived is gone.
asio::awaitable<void> Connection::take_batch(std::shared_ptr<Upload> upload) {
  auto self = shared_from_this();
  auto admit = [self, upload] {
    return self->context_.handler.admit(self->desktop_, upload->request, upload->begin);
  };
  auto admission = co_await run_on(context_.request_pool, std::move(admit));
  if (!admission.spool) {
    channel_->send(std::move(admission.answer));
  } else {
    auto& spool = *admission.spool;
    bool complete = co_await receive(upload, spool);
    if (complete) {
      co_await share_->commit.take();
      bool large = RequestHandler::is_large(upload->begin);
      if (large) co_await context_.large_batch.take();
      auto work = [self, upload, &spool] {
        return self->context_.handler.commit(self->desktop_, upload->request, upload->begin, spool);
      };
      auto reply = co_await run_on(context_.commit_pool, std::move(work));
      if (large) context_.large_batch.leave();
      share_->commit.leave();
      channel_->send(std::move(reply));
    }
  }
  auto it = uploads_.find(upload->request);
  if (it != uploads_.end() && it->second == upload) uploads_.erase(it);
  --takings_;
  wake();
}

}  // namespace roamstead::server
