#include "agent/hook/entries.h"

#if defined(__x86_64__)

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/seed.h"

// In the place of the trampolines and of what looks closely: they note which was reached, and every argument.
extern "C" {
std::uint64_t entered_arguments[11];
std::uint32_t entered_at;  // 0 to 4: the trampoline of this number; 100 and above: looked at closely
extern const char roamstead_trampolines[];
}
asm(R"(
  .text
  .balign 32
  .globl roamstead_trampolines
roamstead_trampolines:
  .set at, 0
  .rept 5
  movl $at, %eax
  jmp note_all
  .balign 32
  .set at, at + 1
  .endr
  .set at, 100
  .irp name, create_file, open_file, query_attributes, query_full_attributes, query_by_name
  .globl roamstead_closely_\name
roamstead_closely_\name:
  movl $at, %eax
  jmp note_all
  .set at, at + 1
  .endr
note_all:
  movl %eax, entered_at(%rip)
  movq %rcx, entered_arguments(%rip)
  movq %rdx, entered_arguments + 8(%rip)
  movq %r8, entered_arguments + 16(%rip)
  movq %r9, entered_arguments + 24(%rip)
  .set at, 4
  .rept 7
  movq 8 + 8 * at(%rsp), %rax
  movq %rax, entered_arguments + 8 * at(%rip)
  .set at, at + 1
  .endr
  movl $0x1234, %eax
  ret
)");

namespace roamstead::hook {
namespace {

using namespace agent::state_map;

// As Windows lays them out.
struct UnicodeString {
  std::uint16_t bytes = 0, most_bytes = 0;
  const char16_t* units = nullptr;
};
struct ObjectAttributes {
  std::uint32_t length = 48;
  void* root = nullptr;
  const UnicodeString* name = nullptr;
  std::uint32_t flags = 0;
  void *security = nullptr, *service = nullptr;
};
static_assert(offsetof(ObjectAttributes, root) == 8 && offsetof(ObjectAttributes, name) == 16);
static_assert(offsetof(UnicodeString, units) == 8);

using Argument = std::uint64_t;
// All are called with as many as the longest takes: what is not theirs must be left alone too.
using Entry = Argument(__attribute__((ms_abi)) *)(Argument, Argument, Argument, Argument, Argument, Argument,
                                                  Argument, Argument, Argument, Argument, Argument);
struct Function {
  Entry enter;
  std::size_t attributes;  // index of the argument
  std::size_t options;     // likewise; 0: it has none
};
const std::array<Function, 5> kFunctions{{
    {reinterpret_cast<Entry>(&roamstead_enter_create_file), 2, 8},
    {reinterpret_cast<Entry>(&roamstead_enter_open_file), 2, 5},
    {reinterpret_cast<Entry>(&roamstead_enter_query_attributes), 0, 0},
    {reinterpret_cast<Entry>(&roamstead_enter_query_full_attributes), 0, 0},
    {reinterpret_cast<Entry>(&roamstead_enter_query_by_name), 0, 0},
}};

// The map of a service, and the filter taken from it, in use as long as this lives.
struct Map {
  explicit Map(const std::vector<std::u16string>& names) {
    for (const auto& name : names) add(name, false);
    header->table = 1;
    use();
  }
  ~Map() { roamstead_filter = nullptr; }
  void add(const std::u16string& name, bool is_key) {
    auto& prefix = header->prefixes[header->prefix_count++];
    prefix.units = static_cast<std::uint16_t>(name.size());
    prefix.is_key = is_key ? 1 : 0;
    std::transform(name.begin(), name.end(), prefix.text, upcase_unit);
  }
  void use() {
    filter.take(*header);
    roamstead_filter = &filter;
  }
  bool is_inside(const std::u16string& name) const {
    Place place;
    return find_place(*header, false, name.data(), name.size(), place);
  }
  std::unique_ptr<Header> header = std::make_unique<Header>();
  ScopeFilter filter;
};

// Whether a call reaches its trampoline; with all arguments as they were, wherever it goes.
bool passes(std::size_t index, const ObjectAttributes* attributes, std::uint32_t options = 0x20) {
  const auto& function = kFunctions[index];
  std::array<Argument, 11> given;
  for (std::size_t i = 0; i < given.size(); ++i) given[i] = 0xABCD'0000'0000'0000 + i;
  given[function.attributes] = reinterpret_cast<Argument>(attributes);
  if (function.options != 0) given[function.options] = 0xFFFF'FFFF'0000'0000 | options;
  const auto status = function.enter(given[0], given[1], given[2], given[3], given[4], given[5], given[6],
                                     given[7], given[8], given[9], given[10]);
  REQUIRE(status == 0x1234);
  REQUIRE(std::equal(given.begin(), given.end(), entered_arguments));
  REQUIRE(entered_at % 100 == index);
  return entered_at < 100;
}

bool passes(std::size_t index, const std::u16string& name, std::uint32_t options = 0x20) {
  const auto bytes = static_cast<std::uint16_t>(2 * name.size());
  // In memory of exactly its size, for sanitizers to see what is read beyond it.
  const std::vector<char16_t> units(name.begin(), name.end());
  const UnicodeString text{bytes, bytes, units.data()};
  ObjectAttributes attributes;
  attributes.name = &text;
  return passes(index, &attributes, options);
}

bool passes(const std::u16string& name) {
  const bool first = passes(0, name);
  for (std::size_t i = 1; i < kFunctions.size(); ++i) REQUIRE(passes(i, name) == first);
  return first;
}

TEST_CASE("no unit beyond ASCII is upcased into it: names can be told apart by four that are ASCII") {
  for (std::uint32_t unit = 0x80; unit < 0x10000; ++unit)
    REQUIRE(upcase_unit(static_cast<char16_t>(unit)) >= 0x80);
}

TEST_CASE("calls with names elsewhere go straight on, with all their arguments") {
  const Map map(
      {u"\\Device\\HarddiskVolume2\\Users\\alice", u"\\??\\C:\\Users\\alice", u"\\??\\C:\\Users\\Zoë"});
  for (const auto* outside :
       {u"", u"\\", u"\\??\\C:\\Users\\alic", u"\\??\\C:\\Users\\bobby\\a.txt", u"\\??\\pipe\\some\\where",
        u"\\??\\C:\\Windows\\System32\\kernel32.dll", u"\\Device\\HarddiskVolume2\\Users\\other\\x"})
    CHECK(passes(outside));
  for (const auto* inside : {u"\\??\\c:\\users\\ALICE", u"\\??\\C:\\Users\\Alice\\a.txt",
                             u"\\??\\c:\\users\\zoË\\x", u"\\device\\harddiskvolume2\\users\\alice\\b"})
    CHECK_FALSE(passes(inside));
}

TEST_CASE("what is opened by number or relative to a handle, and directories, are looked at closely") {
  const Map map({u"\\??\\C:\\Users\\alice"});
  const std::u16string outside = u"\\??\\C:\\Windows";
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(passes(i, outside, 0xFFFF'DFFE));
    CHECK_FALSE(passes(i, outside, 0x2000));
    CHECK_FALSE(passes(i, outside, 0x0001));
  }
  for (std::size_t i = 0; i < kFunctions.size(); ++i) {
    CHECK_FALSE(passes(i, static_cast<const ObjectAttributes*>(nullptr)));
    ObjectAttributes attributes;
    CHECK_FALSE(passes(i, &attributes));
    const UnicodeString text{8, 8, u"abcd"};
    attributes.name = &text;
    CHECK(passes(i, &attributes));
    attributes.root = &attributes;
    CHECK_FALSE(passes(i, &attributes));
  }
}

TEST_CASE("nothing goes straight on without a map, nor once it may lead other names to the profile") {
  const std::u16string outside = u"\\??\\C:\\Windows";
  CHECK_FALSE(passes(outside));
  Map map({u"\\??\\C:\\Users\\alice"});
  map.add(u"\\Registry\\User\\S-1-5-21-7", true);
  map.use();
  CHECK(passes(outside));
  CHECK(passes(u"\\Registry\\User\\S-1-5-21-7"));  // of no file
  map.header->table = 2;
  CHECK_FALSE(passes(outside));
  map.use();
  CHECK(passes(outside));
}

TEST_CASE("where a prefix has no four units of ASCII in a row everything is looked at closely") {
  for (const auto* name : {u"\\??", u"\\Zoë\\Zoë"}) {
    const Map map({name});
    CHECK_FALSE(passes(u"\\??\\C:\\Windows"));
  }
}

TEST_CASE("nothing that lies below a root goes straight on") {
  auto random = support::seeded_random();
  const std::u16string units = u"aAbBzZ@`[{\\\\\\0 éÉßſıKÿ\x130\xD800";
  const auto name_of = [&](std::size_t least) {
    std::u16string name(least + random() % 24, u'\\');
    for (auto& unit : name) unit = units[random() % units.size()];
    return name;
  };
  int inside = 0, straight_on = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::u16string> prefixes;
    for (auto i = random() % 6 + 1; i != 0; --i) prefixes.push_back(name_of(1));
    if (round % 2 == 0)
      for (auto& prefix : prefixes) prefix = u"\\??\\" + prefix;
    const Map map(prefixes);
    for (int tries = 0; tries < 8; ++tries) {
      auto name = random() % 4 == 0 ? name_of(0) : prefixes[random() % prefixes.size()];
      for (auto& unit : name)
        if (random() % 2 == 0) unit = upcase_unit(unit);
      if (random() % 2 == 0) name += u"\\" + name_of(0);
      const bool is_inside = map.is_inside(name), passed = passes(random() % kFunctions.size(), name);
      inside += is_inside;
      straight_on += passed;
      const bool lost = is_inside && passed;
      REQUIRE_FALSE(lost);
    }
  }
  CHECK(inside > 1000);
  CHECK(straight_on > 1000);
}

}  // namespace
}  // namespace roamstead::hook

#endif
