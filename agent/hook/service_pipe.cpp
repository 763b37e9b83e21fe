#include "agent/hook/service_pipe.h"

namespace roamstead::hook {

using namespace agent::intercept;

struct Connection {
  std::atomic<bool> taken{false};
  bool lost = false;  // an answer is still on its way into it: never used again
  HANDLE pipe = nullptr;
  HANDLE event = nullptr;
  std::uint32_t sequence = 0;
  IO_STATUS_BLOCK done{};
  Reply reply{};
  alignas(8) char request[kMaxRequestBytes] = {};
};

namespace {

constexpr unsigned kConnections = 8;
constexpr DWORD kFirstPause_ms = 5, kLongestPause_ms = 200, kCancel_ms = 2000;
constinit Connection connections[kConnections];  // nobody would run constructors
DWORD slot = TLS_OUT_OF_INDEXES;

// The thread's own block, read and written without a call: its last error stays what it is.
char* thread_block() {
  char* block;
#if defined(__x86_64__)
  asm("movq %%gs:0x30, %0" : "=r"(block));
#else
  asm("movl %%fs:0x18, %0" : "=r"(block));
#endif
  return block;
}
constexpr std::size_t kSlots = sizeof(void*) == 8 ? 0x1480 : 0xE10;
constexpr std::size_t kLastError = sizeof(void*) == 8 ? 0x68 : 0x34;

void** slot_of_thread() { return reinterpret_cast<void**>(thread_block() + kSlots) + slot; }
DWORD& last_error() { return *reinterpret_cast<DWORD*>(thread_block() + kLastError); }

LARGE_INTEGER relative(DWORD ms) {
  LARGE_INTEGER time;
  time.QuadPart = -10'000LL * static_cast<LONGLONG>(ms);
  return time;
}

void hang_up(Connection& connection) {
  if (connection.pipe != nullptr) close(connection.pipe);
  connection.pipe = nullptr;
}

bool connect(Connection& connection) {
  if (connection.event == nullptr &&
      failed(native.CreateEvent(&connection.event, EVENT_ALL_ACCESS, nullptr, 1, FALSE)))
    return false;
  WCHAR name[64] = L"\\??\\pipe\\";
  USHORT units = 9;
  for (const auto* at = kPipeName; *at != 0; ++at) name[units++] = static_cast<WCHAR>(*at);
  UNICODE_STRING text{static_cast<USHORT>(units * 2), static_cast<USHORT>(units * 2), name};
  // The service may learn who this is, and act for nobody.
  SECURITY_QUALITY_OF_SERVICE service{sizeof service, SecurityIdentification, SECURITY_STATIC_TRACKING, TRUE};
  OBJECT_ATTRIBUTES attributes{};
  attributes.Length = sizeof attributes;
  attributes.ObjectName = &text;
  attributes.Attributes = OBJ_CASE_INSENSITIVE;
  attributes.SecurityQualityOfService = &service;
  IO_STATUS_BLOCK status{};
  HANDLE pipe = nullptr;
  if (failed(ROAMSTEAD_ORIGINAL(NtCreateFile)(
          &pipe,
          FILE_READ_DATA | FILE_WRITE_DATA | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | SYNCHRONIZE,
          &attributes, &status, nullptr, 0, 0, FILE_OPEN, 0, nullptr, 0)))
    return false;
  struct {
    ULONG read_mode, completion_mode;
  } mode{1, 0};  // messages
  if (failed(ROAMSTEAD_ORIGINAL(NtSetInformationFile)(pipe, &status, &mode, sizeof mode, kPipeInformation))) {
    close(pipe);
    return false;
  }
  connection.pipe = pipe;
  return true;
}

// One message each way; false when the connection is of no use any more.
bool exchange(Connection& connection, std::uint32_t bytes, DWORD patience_ms) {
  connection.done = {};
  connection.done.Status = kPending;
  auto status = native.FsControlFile(connection.pipe, connection.event, nullptr, nullptr, &connection.done,
                                     kPipeTransceive, connection.request, bytes, &connection.reply,
                                     sizeof connection.reply);
  if (status == kPending) {
    auto time = relative(patience_ms);
    do {
      status = native.WaitForSingleObject(connection.event, FALSE, &time);
    } while (status == kSuccess && *static_cast<volatile NTSTATUS*>(&connection.done.Status) == kPending);
    if (status != kSuccess) {
      IO_STATUS_BLOCK cancelled{};
      native.CancelIoFileEx(connection.pipe, &connection.done, &cancelled);
      time = relative(kCancel_ms);
      connection.lost = native.WaitForSingleObject(connection.event, FALSE, &time) != kSuccess;
      return false;
    }
    status = connection.done.Status;
  }
  return !failed(status) && connection.done.Information == sizeof connection.reply &&
         connection.reply.magic == kMagic && connection.reply.version == kVersion &&
         connection.reply.sequence == connection.sequence;
}

Connection* take(DWORD until) {
  for (;;) {
    for (auto& connection : connections)
      if (!connection.lost && !connection.taken.exchange(true, std::memory_order_acquire)) return &connection;
    if (static_cast<LONG>(::GetTickCount() - until) >= 0) return nullptr;
    pause(1);
  }
}

void put_units(char*& at, const Place& place) {
  __builtin_memcpy(at, place.name, 2 * place.units);
  at += 2 * place.units;
}

}  // namespace

bool prepare_asking() {
  slot = ::TlsAlloc();
  return slot < 64;  // the others lie elsewhere
}

AskingNow::AskingNow() : mine_(*slot_of_thread() == nullptr), last_error_(last_error()) {
  if (mine_) *slot_of_thread() = this;
}
AskingNow::~AskingNow() {
  if (mine_) *slot_of_thread() = nullptr;
  last_error() = last_error_;
}

Conversation::Conversation(const Header& header) : header_(header) {}

Conversation::~Conversation() {
  if (connection_ == nullptr) return;
  if (connection_ != &connections[0]) hang_up(*connection_);
  connection_->taken.store(false, std::memory_order_release);
}

NTSTATUS Conversation::ask(Op op, const Place& name, std::uint16_t flags, const Place& second,
                           std::uint64_t value) {
  const auto until = ::GetTickCount() + header_.wait_ms;
  if (connection_ == nullptr) connection_ = take(until);
  if (connection_ == nullptr) return static_cast<NTSTATUS>(kRetry);
  auto& connection = *connection_;
  Request head{};
  head.magic = kMagic;
  head.version = kVersion;
  head.op = static_cast<std::uint16_t>(op);
  head.root = static_cast<std::uint16_t>(name.root);
  head.second_root = static_cast<std::uint16_t>(second.root);
  head.flags = flags;
  head.name_units = static_cast<std::uint32_t>(name.units);
  head.second_units = static_cast<std::uint32_t>(second.units);
  head.value = value;
  head.bytes = static_cast<std::uint32_t>(sizeof head + 2 * (name.units + second.units));
  for (DWORD wait = kFirstPause_ms;; wait = wait * 2 > kLongestPause_ms ? kLongestPause_ms : wait * 2) {
    const auto left = static_cast<LONG>(until - ::GetTickCount());
    if (left <= 0 || connection.lost) return static_cast<NTSTATUS>(kRetry);
    const bool was_open = connection.pipe != nullptr;
    if (was_open || connect(connection)) {
      head.sequence = ++connection.sequence;
      auto* at = connection.request;
      __builtin_memcpy(at, &head, sizeof head);
      at += sizeof head;
      if (name.units != 0) put_units(at, name);
      if (second.units != 0) put_units(at, second);
      if (exchange(connection, head.bytes, static_cast<DWORD>(left)))
        return static_cast<NTSTATUS>(connection.reply.status);
      hang_up(connection);
      if (was_open) continue;  // the service was started anew, perhaps: another attempt at once
    }
    pause(wait);
  }
}

}  // namespace roamstead::hook
