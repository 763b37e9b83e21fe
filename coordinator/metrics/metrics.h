// Counters, gauges and histograms, and their OpenMetrics text (version 1.0.0 of the OpenMetrics
// specification).
//
// Updates are wait-free and may come from any thread; an exposition sees each number whole, though not all of
// them at one instant.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace roamstead::metrics {

// Label names and values; the values may be any UTF-8 text.
using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  void add(std::uint64_t amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Durations in buckets that each hold what is at most 0.5 ms, 1, 2, 5, 10 ... up to 60 s.
class Histogram {
 public:
  using Duration = std::chrono::steady_clock::duration;
  // Microseconds.
  static constexpr std::array<std::uint64_t, 16> kBounds{
      500,     1'000,   2'000,     5'000,     10'000,    20'000,     50'000,     100'000,
      200'000, 500'000, 1'000'000, 2'000'000, 5'000'000, 10'000'000, 30'000'000, 60'000'000};

  void observe(Duration took);
  std::uint64_t count() const;

 private:
  friend class Registry;
  std::array<std::atomic<std::uint64_t>, kBounds.size() + 1>
      buckets_{};  // each for itself; the last: above all
  std::atomic<std::uint64_t> microseconds_{0};
};

// What is going on is observed until it goes out of scope.
class Timer {
 public:
  explicit Timer(Histogram& histogram) : histogram_(histogram), began_(std::chrono::steady_clock::now()) {}
  ~Timer() { histogram_.observe(std::chrono::steady_clock::now() - began_); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  Histogram& histogram_;
  const std::chrono::steady_clock::time_point began_;
};

// The metrics of one process. What is made lives as long as the registry and never moves.
class Registry {
 public:
  using Values = std::vector<std::pair<Labels, double>>;

  // `name` without unit suffixes that the text adds itself ("_total"); a family has one help text. The same
  // name and labels give the same metric; a name may not be of two kinds.
  Counter& counter(const std::string& name, const std::string& help, Labels labels = {});
  Histogram& histogram(const std::string& name, const std::string& help, Labels labels = {});
  // Asked whenever somebody looks; must not block for long, and not call the registry.
  void gauge(const std::string& name, const std::string& help, std::function<Values()> values);

  // As numbers: of a histogram "_count" and "_sum" (seconds), of a counter "_total".
  struct Sample {
    std::string name;
    Labels labels;
    double value = 0;
  };
  std::vector<Sample> samples() const;

  // Ends with "# EOF". Families in the order in which they were made.
  std::string exposition() const;

 private:
  enum class Kind { counter, gauge, histogram };
  struct Family {
    std::string name;
    std::string help;
    Kind kind;
    std::vector<std::pair<Labels, std::unique_ptr<Counter>>> counters;
    std::vector<std::pair<Labels, std::unique_ptr<Histogram>>> histograms;
    std::function<Values()> values;
  };
  Family& family(const std::string& name, const std::string& help, Kind kind);

  mutable std::mutex mutex_;  // guards the lists, not the numbers
  std::vector<std::unique_ptr<Family>> families_;
};

inline constexpr const char* kContentType = "application/openmetrics-text; version=1.0.0; charset=utf-8";

}  // namespace roamstead::metrics
