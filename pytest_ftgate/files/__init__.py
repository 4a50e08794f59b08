"""What people wrote, read strictly; what nobody may trust, shown safely."""
