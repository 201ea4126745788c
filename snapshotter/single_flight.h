// SingleFlight: callers that ask for the same thing at the same time share one doing of it and its
// outcome. Any thread.
#pragma once

#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <string>

#include "base/result.h"

namespace dedup {

class SingleFlight {
 public:
  // Runs `work`, or waits for the run of an earlier caller with the same key.
  Result<void> run(const std::string& key, const std::function<Result<void>()>& work) {
    std::promise<Result<void>> promise;
    {
      std::unique_lock lock(x_mutex);
      const auto flight = x_flights.find(key);
      if (flight != x_flights.end()) {
        const auto outcome = flight->second;
        lock.unlock();
        return outcome.get();
      }
      x_flights.emplace(key, promise.get_future().share());
    }
    Result<void> outcome = work();
    {
      const std::lock_guard lock(x_mutex);
      x_flights.erase(key);
    }
    promise.set_value(outcome);
    return outcome;
  }

 private:
  std::mutex x_mutex;
  std::map<std::string, std::shared_future<Result<void>>> x_flights;
};

}  // namespace dedup
